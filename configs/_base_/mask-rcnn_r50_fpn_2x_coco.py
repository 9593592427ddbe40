# Mask R-CNN with a head that has convolutions to normalise, and with the
# statistics of the backbone trained. The norm is left to the leaf configs.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'

model = dict(
    backbone=dict(norm_eval=False),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256)
    ),
)
# Gains, offsets and the logits of switchable norms are not decayed.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
