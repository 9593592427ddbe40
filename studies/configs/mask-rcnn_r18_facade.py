"""Mask R-CNN R18 with GN for facades and windows, for one CPU core."""

_base_ = '../../configs/mini/mask-rcnn_r18_fpn_gn-all_1xb1-3e_mini-coco.py'

model = dict(
    # Half of the windows are 16 pixels or narrower, facades are 228 wide.
    rpn_head=dict(anchor_generator=dict(scales=[3])),  # 12 to 192 pixels
    roi_head=dict(
        bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=400, max_per_img=200)),
    test_cfg=dict(
        rpn=dict(nms_pre=400, max_per_img=200),
        rcnn=dict(max_per_img=100),
    ),
)

data_root = 'data/facade/'
# The data have eight more classes. A short training from random weights does
# not find them: their average precision is below 0.05.
metainfo = dict(classes=('facade', 'window'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(256, 256), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 256), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]
train_dataloader = dict(
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

# 4 epochs of 407 images with one image per step are 1628 steps.
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=1628),
]
