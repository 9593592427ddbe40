_base_ = './8xb1-40k_cityscapes-512x1024.py'

# 1 GPU x 2 images = 2: lr 0.01 * 2 / 8 = 0.0025; 160000 steps see the images
# of 40000 steps of 8.
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=0.0025))
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=2.5e-5, end=160000, by_epoch=False)
]
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
