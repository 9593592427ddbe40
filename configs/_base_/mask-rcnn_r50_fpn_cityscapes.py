# As mmdet's Mask R-CNN for Cityscapes, from ImageNet weights: 8 passes over
# a dataset that repeats itself 8 times.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/cityscapes_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(norm_eval=False),
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', conv_out_channels=256, num_classes=8
        ),
        mask_head=dict(num_classes=8),
    ),
)
train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', end=8, milestones=[7], gamma=0.1),
]
# Gains, offsets and the logits of switchable norms are not decayed.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
