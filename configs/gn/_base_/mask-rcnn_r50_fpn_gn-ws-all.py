_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWS'),
    norm_cfg=dict(type='mmnorm.GN', num_groups=32),
)
model = dict(
    backbone=dict(
        # These are weights of joe-siyuan-qiao/WeightStandardization.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gn_ws.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
