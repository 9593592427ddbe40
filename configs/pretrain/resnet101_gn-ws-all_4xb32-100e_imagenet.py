# 4 GPUs x 32 images = 128 images per step; the authors of WS and BCN train
# ResNet-101 with lr 0.1, too: a tenth of it after 30, 60 and 90 epochs.
# 1281167 images make 10009 steps per epoch; 100 epochs are 1000900 steps.
_base_ = [
    './_base_/resnet101_gn-ws-all.py',  # network, norm
    '../_base_/classification/4xb32-100e_imagenet.py',  # data, schedule
]
