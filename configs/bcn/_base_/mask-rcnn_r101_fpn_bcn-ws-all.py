_base_ = './mask-rcnn_r50_fpn_bcn-ws-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/rn101_bcn_ws.pth')
    )
)
