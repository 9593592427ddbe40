# Mask R-CNN with a box head that has convolutions to normalize, and with the
# statistics of the backbone trained. The norms are left to bcn/_base_ and its
# like.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(norm_eval=False),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256)
    ),
)
