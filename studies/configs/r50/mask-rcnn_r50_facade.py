"""Mask R-CNN R50-FPN for the parts of facades at 512 pixels, for a GPU."""

_base_ = '../mask-rcnn_r18_facade.py'

model = dict(
    backbone=dict(depth=50),
    neck=dict(in_channels=[256, 512, 1024, 2048], out_channels=256),
    rpn_head=dict(
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(scales=[8]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256),
        mask_roi_extractor=dict(out_channels=256),
        bbox_head=dict(
            in_channels=256, conv_out_channels=256, fc_out_channels=1024
        ),
        mask_head=dict(in_channels=256, conv_out_channels=256),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=256)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(max_per_img=100),
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (512, 512)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (512, 512)
train_dataloader = dict(num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# 12 epochs of 407 images with one image per step are 4884 steps.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
train_cfg = dict(max_epochs=12, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=300),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=300, end=4884),
]
