# This Mask R-CNN has a box head with convolutions to normalize, and its
# backbone updates statistics. The _base_ folder of each norm adds the norm.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(norm_eval=False),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256)
    ),
)
