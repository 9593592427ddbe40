# 1 GPU x 128 images = 128 images per step; pytorch-classification, which the
# authors of WS have forked, trains ResNet-110 with lr 0.1, and with a tenth
# of it after 81 and after 122 epochs.
# 50000 images make 391 steps per epoch; 164 epochs are 64124 steps.
_base_ = [
    './_base_/resnet110_bcn-all.py',  # network, norm
    '../_base_/classification/1xb128-164e_cifar10.py',  # data, schedule
]
model = _base_.model_settings
