_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.GN', num_groups='auto'))
model = dict(
    backbone=dict(
        # Only the backbone has weight standardization, because it cost
        # accuracy in heads of DeepLab: github.com/mosaicml/composer/pull/1562
        conv_cfg=dict(type='mmnorm.ConvWS'),
        # These are weights of joe-siyuan-qiao/WeightStandardization.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gn_ws.pth'
        ),
        **norms,
    ),
    decode_head=norms,
    auxiliary_head=norms,
)
