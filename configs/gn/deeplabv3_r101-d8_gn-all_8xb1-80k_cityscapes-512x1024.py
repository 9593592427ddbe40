# 8 GPUs x 1 image = 8: lr 0.01; 80000 steps.
_base_ = [
    './_base_/deeplabv3_r101-d8_gn-all.py',  # network, norm
    '../_base_/semantic/8xb1-80k_cityscapes-512x1024.py',  # data, schedule
]
