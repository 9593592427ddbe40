_base_ = '_base_/resnet18_mini-imagenet.py'

norm_cfg = dict(type='BCN', num_groups=32, estimate=False)
model = dict(
    backbone=dict(norm_cfg=norm_cfg, conv_cfg=dict(type='mmnorm.ConvWS'))
)
