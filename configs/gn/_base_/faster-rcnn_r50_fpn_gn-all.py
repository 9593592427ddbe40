_base_ = '../../_base_/models/faster-rcnn_r50_fpn.py'

norms = dict(norm_cfg=dict(type='mmnorm.GN', num_groups=32))
model = dict(
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
    ),
    backbone=dict(
        # R-50-GN of Detectron was trained on the pixel values above.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gn.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms),
)
