_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.GW', num_groups='auto'))
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gw.pth'
        ),
        **norms,
    ),
    decode_head=norms,
    auxiliary_head=norms,
)
