_base_ = './deeplabv3plus_r50-d8_gn-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/resnet101_gn.pth')
    )
)
