_base_ = './8xb1-40k_cityscapes-512x1024.py'

# 8 GPUs x 1 image = 8: lr 0.01; 80000 steps.
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, end=80000, by_epoch=False)
]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
