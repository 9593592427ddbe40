_base_ = '../_base_/mask-rcnn_r50_fpn_2x_coco.py'

norms = dict(
    conv_cfg=dict(type='mmnorm.ConvWS'),
    norm_cfg=dict(type='mmnorm.GN', num_groups=32),
)
model = dict(
    # The GN+WS weights of joe-siyuan-qiao/WeightStandardization.
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/resnet50_gn_ws.pth'
        ),
        **norms,
    ),
    neck=norms,
    roi_head=dict(bbox_head=norms, mask_head=norms),
)
# 8 GPUs x 1 image = 8: lr 0.02 * 8 / 16 = 0.01
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
