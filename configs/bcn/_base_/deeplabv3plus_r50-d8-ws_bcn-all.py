_base_ = '../../_base_/models/deeplabv3plus_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.BCN', num_groups='auto'))
model = dict(
    backbone=dict(
        # In the backbone alone: in DeepLab's heads it has cost accuracy,
        # github.com/mosaicml/composer/pull/1562
        conv_cfg=dict(type='mmnorm.ConvWS'),
        # Of the authors, by tools/convert_checkpoint.py bcn-ws.
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/rn50_bcn_ws.pth'
        ),
        **norms,
    ),
    decode_head=norms,
    auxiliary_head=norms,
)
