# 8 GPUs x 2 images = 16: lr 0.02, mmdet's own; 12 epochs.
_base_ = [
    './_base_/faster-rcnn_r50_fpn_gn-ws-all.py',  # network, norm
    '../_base_/detection/8xb2-1x_coco.py',  # data, schedule
]
