_base_ = '_base_/deeplabv3_r18-d8_mini-cityscapes.py'

# The result in README.md was measured with this momentum;
# estimate_momentum(1) of mmnorm.config.momentum returns 0.0125.
norm_cfg = dict(type='BCN', num_groups=8, momentum=0.01)
model = dict(
    backbone=dict(norm_cfg=norm_cfg, conv_cfg=dict(type='mmnorm.ConvWS')),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg),
)
