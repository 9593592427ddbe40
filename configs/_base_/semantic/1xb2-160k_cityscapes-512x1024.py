_base_ = './4xb2-40k_cityscapes-512x1024.py'

# 1 GPU x 2 images = 2 images per step; lr is 0.01 * 2 / 8 = 0.0025.
# The model sees as many images in 160000 steps as 4 GPUs show in 40000.
optim_wrapper = dict(optimizer=dict(lr=0.0025))
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=2.5e-5, end=160000, by_epoch=False)
]
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
