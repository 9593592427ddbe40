_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.BCN', num_groups='auto'))
model = dict(
    backbone=dict(
        # Only the backbone has weight standardization, because it cost
        # accuracy in heads of DeepLab: github.com/mosaicml/composer/pull/1562
        conv_cfg=dict(type='mmnorm.ConvWS'),
        # tools/convert_checkpoint.py bcn-ws converts the authors' weights.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/rn50_bcn_ws.pth'
        ),
        **norms,
    ),
    decode_head=norms,
    auxiliary_head=norms,
)
