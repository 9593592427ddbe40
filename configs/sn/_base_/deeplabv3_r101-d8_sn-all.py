_base_ = './deeplabv3_r50-d8_sn-all.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')
    )
)
