_base_ = '../_base_/mask-rcnn_r50_fpn_cityscapes.py'

norms = dict(norm_cfg=dict(type='mmnorm.GN', num_groups=32))
model = dict(
    # Detectron's R-50-GN, and the pixel values it was trained on.
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
    ),
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gn.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
# 8 GPUs x 1 image = 8: lr 0.01 * 8 / 8 = 0.01
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
