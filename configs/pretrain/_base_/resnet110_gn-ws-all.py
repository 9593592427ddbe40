_base_ = '../../_base_/models/resnet110_cifar.py'

# The smallest stage has 16 channels. Its groups have 2 channels with 8 groups,
# as those of ResNet-50 have with 32 groups.
norm_cfg = dict(type='mmnorm.GN', num_groups=8)
model = dict(
    backbone=dict(conv_cfg=dict(type='mmnorm.ConvWS'), norm_cfg=norm_cfg)
)
