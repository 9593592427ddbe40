_base_ = '../../_base_/models/mask-rcnn_r101_fpn.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWS'),
    norm_cfg=dict(type='mmnorm.GN', num_groups=32),
)
model = dict(
    backbone=dict(
        # The GN+WS weights of joe-siyuan-qiao/WeightStandardization.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet101_gn_ws.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
