_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(norm_cfg=dict(type='mmnorm.SN', use_bn=False))
model = dict(
    backbone=dict(
        # Without batch statistics, weights of BN do not fit.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_sn.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
