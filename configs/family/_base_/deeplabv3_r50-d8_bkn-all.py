_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.BKN'))
model = dict(
    backbone=norms,
    decode_head=norms,
    auxiliary_head=norms,
)
custom_hooks = [dict(type='mmnorm.KalmanHook')]
