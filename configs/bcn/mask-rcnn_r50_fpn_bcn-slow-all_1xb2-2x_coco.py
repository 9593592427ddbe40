# 1 GPU x 2 images = 2: lr 0.02 * 2 / 16 = 0.0025; epochs, and so the images
# seen, are those of 8 GPUs.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-slow-all.py',  # network, norm
    '../_base_/instance/1xb2-2x_coco.py',  # data, schedule
]
