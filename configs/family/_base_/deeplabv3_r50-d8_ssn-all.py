_base_ = '../../_base_/models/deeplabv3_r50-d8.py'

norms = dict(norm_cfg=dict(type='mmnorm.SSN'))
model = dict(
    backbone=norms,
    decode_head=norms,
    auxiliary_head=norms,
)
custom_hooks = [dict(type='mmnorm.SparseSwitchHook')]
# The shares learn at a tenth of the rate, as those of the authors.
optim_settings = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            mean_weight=dict(lr_mult=0.1, decay_mult=0.0),
            var_weight=dict(lr_mult=0.1, decay_mult=0.0),
        )
    )
)
