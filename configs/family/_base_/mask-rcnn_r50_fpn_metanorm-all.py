_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(norm_cfg=dict(type='mmnorm.MetaNorm', num_groups='auto'))
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_metanorm.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
