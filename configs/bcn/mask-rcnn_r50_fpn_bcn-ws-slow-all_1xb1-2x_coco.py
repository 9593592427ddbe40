# 1 GPU x 1 image = 1: lr 0.02 * 1 / 16 = 0.00125; epochs, and so the images
# seen, are those of 8 GPUs.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-ws-slow-all.py',  # network, norm
    '../_base_/instance/1xb1-2x_coco.py',  # data, schedule
]
