# 1 GPU x 2 images = 2: lr 0.01 * 2 / 8 = 0.0025; 160000 steps see the images
# of 40000 steps of 8.
_base_ = [
    './_base_/deeplabv3_r50-d8_bcn-slow-all.py',  # network, norm
    '../_base_/semantic/1xb2-160k_cityscapes-512x1024.py',  # data, schedule
]
