_base_ = './mask-rcnn_r50_fpn_gn-ws-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/resnet101_gn_ws.pth')
    )
)
