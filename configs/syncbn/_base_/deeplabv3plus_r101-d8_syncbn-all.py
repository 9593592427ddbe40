_base_ = './deeplabv3plus_r50-d8_syncbn-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')
    )
)
