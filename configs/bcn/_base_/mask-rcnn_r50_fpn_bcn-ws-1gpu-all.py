_base_ = './mask-rcnn_r50_fpn_bcn-ws-all.py'

# The momentum is estimate_momentum(1) of mmnorm.config.momentum: a step
# has 1 image.
norms = dict(norm_cfg=dict(momentum=0.0125))
model = dict(
    backbone=norms,
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
