_base_ = [
    'mmdet::_base_/datasets/cityscapes_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model_settings = dict(
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8))
)
# As mmdet's Mask R-CNN for Cityscapes, from ImageNet weights: 8 epochs of a
# data set that repeats itself 8 times.
train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', end=8, milestones=[7], gamma=0.1),
]
# 8 GPUs x 1 image = 8: lr 0.01, mmdet's own.
# Gains, offsets and the logits of switchable norms are not decayed.
optim_wrapper = dict(
    optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.0)
)
auto_scale_lr = dict(base_batch_size=8)
