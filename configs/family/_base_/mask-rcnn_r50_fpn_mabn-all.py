_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWC'), norm_cfg=dict(type='mmnorm.MABN')
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_mabn.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
