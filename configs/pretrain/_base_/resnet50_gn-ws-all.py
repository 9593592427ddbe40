_base_ = 'mmpretrain::_base_/models/resnet50.py'

model = dict(
    backbone=dict(
        conv_cfg=dict(type='mmnorm.ConvWS'),
        norm_cfg=dict(type='mmnorm.GN', num_groups=32),
        # The authors of BCN and SN begin with branches of 0, those of WS do
        # not.
        zero_init_residual=False,
    )
)
