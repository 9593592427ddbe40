# 8 GPUs x 2 images = 16 images per step; mmdet trains them with lr 0.02.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-ws-all.py',  # network, norm
    '../_base_/instance/8xb2-2x_coco.py',  # data, schedule
]
