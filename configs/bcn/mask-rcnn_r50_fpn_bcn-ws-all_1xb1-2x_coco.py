# 1 GPU x 1 image = 1 image per step; lr is 0.02 * 1 / 16 = 0.00125.
# The epochs are those of 8 GPUs, and the model sees as many images.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-ws-all.py',  # network, norm
    '../_base_/instance/1xb1-2x_coco.py',  # data, schedule
]
