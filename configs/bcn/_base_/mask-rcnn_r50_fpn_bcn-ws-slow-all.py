_base_ = './mask-rcnn_r50_fpn_bcn-ws-all.py'

# 0.1 / 8: the estimates of one GPU follow as many images as those of eight.
norms = dict(norm_cfg=dict(momentum=0.0125))
model = dict(
    backbone=norms,
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
