"""The mini Mask R-CNN R18 with BCN on PennFudan."""

_base_ = '../../configs/mini/mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco.py'

metainfo = dict(classes=('person',))
data_root = 'data/pennfudan/'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/'),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1))
)
# 136 images x 9 epochs = 1224 steps
train_cfg = dict(max_epochs=9, val_interval=3)
