_base_ = './8xb1-2x_coco.py'

# Every norm starts from random weights and torchvision's mean and std.
model_settings = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
        init_cfg=None,
    ),
)
# 8 GPUs x 1 image = 8 images per step; lr is 0.01. Random weights need six
# times 12 epochs and a further epoch, as in configs/scratch of mmdet.
train_cfg = dict(max_epochs=73)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', end=73, milestones=[65, 71], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
