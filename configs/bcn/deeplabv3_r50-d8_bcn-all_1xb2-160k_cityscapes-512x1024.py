# 1 GPU x 2 images = 2 images per step; lr is 0.01 * 2 / 8 = 0.0025.
# The model sees as many images in 160000 steps as 4 GPUs show in 40000.
_base_ = [
    './_base_/deeplabv3_r50-d8_bcn-all.py',  # network, norm
    '../_base_/semantic/1xb2-160k_cityscapes-512x1024.py',  # data, schedule
]
