# 8 GPUs x 2 images = 16 images per step; mmseg trains as many on 4 GPUs for
# 80000 steps with lr 0.01.
_base_ = [
    './_base_/deeplabv3_r50-d8_bcn-all.py',  # network, norm
    '../_base_/semantic/8xb2-80k_coco-stuff164k-512x512.py',  # data, schedule
]
model = _base_.model_settings
