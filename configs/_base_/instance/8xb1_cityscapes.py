_base_ = [
    'mmdet::_base_/datasets/cityscapes_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model_settings = dict(
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8))
)
# mmdet trains Mask R-CNN on Cityscapes in the same way: for 8 epochs of a
# data set that repeats the images 8 times. mmdet starts from weights of COCO,
# and this recipe starts from weights of ImageNet.
train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', end=8, milestones=[7], gamma=0.1),
]
# 8 GPUs x 1 image = 8 images per step; mmdet trains them with lr 0.01.
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    # Weights, biases and mixing logits of norms are not decayed.
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=8)
