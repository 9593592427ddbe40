# This ResNet-18 for two CPU cores sees images of 64 x 64.
# The leaf config adds the norm.
_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../../_base_/classification/imagenet.py',
]

model = dict(head=dict(num_classes=10))
data_preprocessor = dict(num_classes=10)
data_root = 'data/mini_imagenet'
metainfo = dict(
    classes=(
        'zero',
        'one',
        'two',
        'three',
        'four',
        'five',
        'six',
        'seven',
        'eight',
        'nine',
    )
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
dataset = dict(data_root=data_root, metainfo=metainfo, pipeline=pipeline)
train_dataloader = dict(batch_size=32, num_workers=0, dataset=dataset)
val_dataloader = dict(batch_size=50, num_workers=0, dataset=dataset)
test_dataloader = val_dataloader

# 1 GPU x 32 images = 32 images per step; 1000 images make 31 steps per epoch,
# and 10 epochs are 310 steps.
train_cfg = dict(max_epochs=10)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05, fused=True
    ),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=31),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=31, end=310),
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=10))
randomness = dict(seed=0)
custom_hooks = [dict(type='mmnorm.RepeatableHook')]
