_base_ = '../../_base_/models/deeplabv3_r101-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.BCN', num_groups='auto'))
model = dict(
    backbone=norms,
    decode_head=norms,
    auxiliary_head=norms,
)
