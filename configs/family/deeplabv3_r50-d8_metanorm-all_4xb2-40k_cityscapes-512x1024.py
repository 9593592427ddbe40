# 4 GPUs x 2 images = 8 images per step; mmseg trains them for 40000 steps
# with lr 0.01.
_base_ = [
    './_base_/deeplabv3_r50-d8_metanorm-all.py',  # network, norm
    '../_base_/semantic/4xb2-40k_cityscapes-512x1024.py',  # data, schedule
]
