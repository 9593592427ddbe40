_base_ = './deeplabv3_r101-d8_bcn-all.py'

# 0.1 / 8: the estimates of one GPU follow as many images as those of eight.
norms = dict(norm_cfg=dict(momentum=0.0125))
model = dict(backbone=norms, decode_head=norms, auxiliary_head=norms)
