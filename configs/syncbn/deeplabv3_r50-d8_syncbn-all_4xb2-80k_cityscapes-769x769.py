# 4 GPUs x 2 images = 8 images per step; mmseg trains them for 80000 steps
# with lr 0.01.
_base_ = [
    './_base_/deeplabv3_r50-d8_syncbn-all.py',  # network, norm
    '../_base_/semantic/4xb2-80k_cityscapes-769x769.py',  # data, schedule
]
model = _base_.model_settings
