# 4 GPUs x 4 images = 16 images per step; mmseg trains them for 40000 steps
# with lr 0.01.
_base_ = [
    './_base_/deeplabv3plus_r101-d8_syncbn-all.py',  # network, norm
    '../_base_/semantic/4xb4-40k_voc12aug-512x512.py',  # data, schedule
]
model = _base_.model_settings
