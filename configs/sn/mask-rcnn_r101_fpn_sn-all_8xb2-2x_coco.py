_base_ = './mask-rcnn_r50_fpn_sn-all_8xb2-2x_coco.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')
    )
)
