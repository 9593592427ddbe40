_base_ = '../_base_/mask-rcnn_r50_fpn_cityscapes.py'

norms = dict(norm_cfg=dict(type='mmnorm.BCN', num_groups=32))
model = dict(
    backbone=norms,
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
# 8 GPUs x 1 image = 8: lr 0.01 * 8 / 8 = 0.01
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
