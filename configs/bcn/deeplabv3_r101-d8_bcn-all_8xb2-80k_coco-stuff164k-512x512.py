# 8 GPUs x 2 images = 16: lr 0.01 and 80000 steps, as mmseg's 4 GPUs x 4.
_base_ = [
    './_base_/deeplabv3_r101-d8_bcn-all.py',  # network, norm
    '../_base_/semantic/8xb2-80k_coco-stuff164k-512x512.py',  # data, schedule
]
model = _base_.model_settings
