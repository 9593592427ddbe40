_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'

# The authors' ImageNet weights, which load as they are, from
# cs.jhu.edu/~syqiao/BatchChannelNormalization/rn50_bcn_ws.pth
init_cfg = dict(type='Pretrained', checkpoint='checkpoints/rn50_bcn_ws.pth')
conv_cfg = dict(type='mmnorm.ConvWS')
norm_cfg = dict(type='mmnorm.BCN', num_groups=32)
norms = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
model = dict(
    backbone=dict(norm_eval=False, init_cfg=init_cfg, **norms),
    neck=norms,
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', conv_out_channels=256, **norms
        ),
        mask_head=norms,
    ),
)
# 8 GPUs x 1 image = 8; lr 0.02 * 8 / 16 = 0.01; 24 epochs as in 2x.
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(
    optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.0)
)
auto_scale_lr = dict(base_batch_size=8)
