# 4 GPUs x 4 images = 16: lr 0.01 and 40000 steps, mmseg's own.
_base_ = [
    './_base_/deeplabv3_r101-d8_gn-all.py',  # network, norm
    '../_base_/semantic/4xb4-40k_voc12aug-512x512.py',  # data, schedule
]
model = _base_.model_settings
