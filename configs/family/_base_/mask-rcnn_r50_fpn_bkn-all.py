_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(norm_cfg=dict(type='mmnorm.BKN'))
model = dict(
    backbone=norms,
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
custom_hooks = [dict(type='mmnorm.KalmanHook')]
