# The authors of WS publish a fork of pytorch-classification, which crops,
# mirrors and scales the images as mmpretrain does for CIFAR-10.
_base_ = [
    'mmpretrain::_base_/datasets/cifar10_bs16.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py',
]

model_settings = dict(head=dict(num_classes=10))
# mmpretrain would download data that are missing.
dataset = dict(data_root='data/cifar10', download=False)
val_dataloader = dict(batch_size=100, dataset=dataset)
test_dataloader = val_dataloader
env_cfg = dict(cudnn_benchmark=True)  # images have one size
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# 1 GPU x 128 images = 128 images per step; pytorch-classification, which the
# authors of WS have forked, trains ResNet-110 with lr 0.1, and with a tenth
# of it after 81 and after 122 epochs.
# 50000 images make 391 steps per epoch; 164 epochs are 64124 steps.
train_dataloader = dict(batch_size=128, dataset=dataset)
train_cfg = dict(max_epochs=164)
param_scheduler = dict(milestones=[81, 122])
auto_scale_lr = dict(enable=False, base_batch_size=128)
