_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWC'), norm_cfg=dict(type='mmnorm.MABN')
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_mabn.pth'
        ),
        **norms,
    ),
    decode_head=norms,
    auxiliary_head=norms,
)
