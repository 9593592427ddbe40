_base_ = '../../_base_/models/mask-rcnn_r50_fpn.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWS'),
    norm_cfg=dict(type='mmnorm.BCN', num_groups=32),
)
model = dict(
    backbone=dict(
        # tools/convert_checkpoint.py bcn-ws converts the authors' weights.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/rn50_bcn_ws.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
