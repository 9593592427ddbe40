# 8 GPUs x 1 image = 8 images per step; lr is 0.01. Random weights need six
# times 12 epochs and a further epoch, as in configs/scratch of mmdet.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_gn-all.py',  # network, norm
    '../_base_/instance/8xb1-scratch-6x_coco.py',  # data, schedule
]
model = _base_.model_settings
