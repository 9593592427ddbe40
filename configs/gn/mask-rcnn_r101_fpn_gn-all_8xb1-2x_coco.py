_base_ = './mask-rcnn_r50_fpn_gn-all_8xb1-2x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet101_gn.pth'
        ),
    )
)
