_base_ = '_base_/mask-rcnn_r18_fpn_mini-coco.py'

conv_cfg = dict(type='mmnorm.ConvWC')
norm_cfg = dict(type='mmnorm.MABN', renorm_iters=200)
model = dict(
    backbone=dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg),
    neck=dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg),
        mask_head=dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg),
    ),
)
