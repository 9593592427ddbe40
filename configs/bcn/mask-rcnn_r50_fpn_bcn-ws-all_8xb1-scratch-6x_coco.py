# 8 GPUs x 1 image = 8: lr 0.01; random weights need 6 times 12 epochs and one
# more, as in mmdet's configs/scratch.
_base_ = [
    './_base_/mask-rcnn_r50_fpn_bcn-ws-all.py',  # network, norm
    '../_base_/instance/8xb1-scratch-6x_coco.py',  # data, schedule
]
model = _base_.model_settings
