# 8 GPUs x 1 image = 8: lr 0.01; 80000 steps.
_base_ = [
    './_base_/deeplabv3_r50-d8_sn-all.py',  # network, norm
    '../_base_/semantic/8xb1-80k_cityscapes-769x769.py',  # data, schedule
]
model = _base_.model_settings
