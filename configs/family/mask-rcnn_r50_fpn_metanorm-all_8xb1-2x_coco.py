# 8 GPUs x 1 image = 8 images per step; lr is 0.02 * 8 / 16 = 0.01.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_metanorm-all.py',  # network, norm
    '../_base_/instance/8xb1-2x_coco.py',  # data, schedule
]
