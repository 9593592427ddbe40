# This DeepLabV3 for two CPU cores has a ResNet-18 of half the width, 64
# channels in the heads, and images of 128 x 256.
# The leaf configs add the norm.
_base_ = [
    '../../_base_/models/deeplabv3_r50-d8.py',
    '../../_base_/semantic/cityscapes-512x1024.py',
]

# A digit covers 1 % of an image, and the classes of digits weigh more.
class_weight = [1.0] * 6 + [5.0] * 2 + [1.0] * 3 + [5.0] * 8
model = dict(
    data_preprocessor=dict(size=(128, 256)),
    backbone=dict(
        depth=18,
        base_channels=32,
        zero_init_residual=False,
        init_cfg=None,  # trained from scratch
    ),
    decode_head=dict(
        in_channels=256,
        channels=64,
        dilations=(1, 2, 4, 6),
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=128,
        channels=64,
        loss_decode=dict(class_weight=class_weight),
    ),
)

data_root = 'data/mini_cityscapes/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(128, 256)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

# 1 GPU x 1 image = 1 image per step; 2000 steps see 400 images 5 times.
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=100, end=2000),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)
train_cfg = dict(max_iters=2000, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(interval=1000),
    # vis_data/vis_image holds every tenth image of each evaluation.
    visualization=dict(draw=True, interval=10),
)
randomness = dict(seed=0)
custom_hooks = [dict(type='mmnorm.RepeatableHook')]
