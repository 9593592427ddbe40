_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.EvoNormB0'))
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_evonormb0.pth'
        ),
        **norms,
    ),
    # The norm is the activation.
    decode_head=dict(act_cfg=None, **norms),
    auxiliary_head=dict(act_cfg=None, **norms),
)
