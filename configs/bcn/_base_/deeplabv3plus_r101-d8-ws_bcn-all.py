_base_ = './deeplabv3plus_r50-d8-ws_bcn-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/rn101_bcn_ws.pth')
    )
)
