"""Mask R-CNN R50 with BCN on PennFudan."""

_base_ = '../../configs/bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco.py'

data_root = 'data/pennfudan/'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/'),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
# 1 process x 1 image = 1 image per step; lr is 0.02 * 1 / 16 = 0.00125.
optim_wrapper = dict(optimizer=dict(lr=0.00125))
