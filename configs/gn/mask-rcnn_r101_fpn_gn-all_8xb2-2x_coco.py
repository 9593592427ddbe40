# 8 GPUs x 2 images = 16: lr 0.02, mmdet's own; 24 epochs.
_base_ = [
    './_base_/mask-rcnn_r101_fpn_gn-all.py',  # network, norm
    '../_base_/instance/8xb2-2x_coco.py',  # data, schedule
]
