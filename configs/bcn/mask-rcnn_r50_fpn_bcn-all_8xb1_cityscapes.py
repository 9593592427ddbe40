# 8 GPUs x 1 image = 8 images per step; mmdet trains them with lr 0.01.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-all.py',  # network, norm
    '../_base_/instance/8xb1_cityscapes.py',  # data, schedule
]
model = _base_.model_settings
