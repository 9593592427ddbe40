# 4 GPUs x 2 images = 8: lr 0.01; 40000 steps, as 8 GPUs with one image.
_base_ = [
    './_base_/deeplabv3_r101-d8_syncbn-all.py',  # network, norm
    '../_base_/semantic/4xb2-40k_cityscapes-512x1024.py',  # data, schedule
]
