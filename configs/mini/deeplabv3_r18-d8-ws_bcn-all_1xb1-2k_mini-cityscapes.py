_base_ = '_base_/deeplabv3_r18-d8_mini-cityscapes.py'

# Estimates of one image a step want a longer memory than the default 0.1.
norm_cfg = dict(type='BCN', num_groups=8, momentum=0.01)
model = dict(
    backbone=dict(norm_cfg=norm_cfg, conv_cfg=dict(type='mmnorm.ConvWS')),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg),
)
