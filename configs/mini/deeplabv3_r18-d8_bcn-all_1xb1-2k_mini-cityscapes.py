_base_ = '_base_/deeplabv3_r18-d8_mini-cityscapes.py'

norm_cfg = dict(type='BCN', num_groups=8)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg),
)
