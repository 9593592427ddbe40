# 8 GPUs x 32 images = 256 images per step; the authors of SN warm up to
# lr 0.1 in 5 epochs, and then follow a cosine to 0. The authors also vary the
# colors along their principal components, which this config does not do.
# 1281167 images make 5004 steps per epoch; 120 epochs are 600480 steps.
_base_ = [
    './_base_/resnet50_sn-all.py',  # network, norm
    '../_base_/classification/8xb32-120e_imagenet.py',  # data, schedule
]
