_base_ = './deeplabv3_r50-d8-ws_bcn-all.py'

# The momentum is estimate_momentum(2) of mmnorm.config.momentum: a step
# has 2 images.
norms = dict(norm_cfg=dict(momentum=0.025))
model = dict(backbone=norms, decode_head=norms, auxiliary_head=norms)
