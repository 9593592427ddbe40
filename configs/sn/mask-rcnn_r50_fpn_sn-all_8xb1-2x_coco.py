_base_ = '../_base_/mask-rcnn_r50_fpn_2x_coco.py'

norms = dict(norm_cfg=dict(type='mmnorm.SN'))
model = dict(
    backbone=norms,
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
# 8 GPUs x 1 image = 8: lr 0.02 * 8 / 16 = 0.01
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
