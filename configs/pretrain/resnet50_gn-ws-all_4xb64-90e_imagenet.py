# 4 GPUs x 64 images = 256 images per step; the authors of WS and BCN train
# ResNet-50 with lr 0.1, and with a tenth of it after 30 and after 60 epochs.
# 1281167 images make 5004 steps per epoch; 90 epochs are 450360 steps.
_base_ = [
    './_base_/resnet50_gn-ws-all.py',  # network, norm
    '../_base_/classification/4xb64-90e_imagenet.py',  # data, schedule
]
