_base_ = '_base_/mask-rcnn_r18_fpn_mini-coco.py'

# The paper's 5000, 40000 and 25000 steps are longer than this training.
norm_cfg = dict(type='mmnorm.BRN', start=100, r_steps=600, d_steps=400)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
