_base_ = '_base_/mask-rcnn_r18_fpn_mini-coco.py'

norm_cfg = dict(type='mmnorm.GW', num_groups='auto')
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
