# The authors of WS and BCN crop and mirror the images as mmpretrain does, and
# they decay all parameters, those of norms too.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py',
]

env_cfg = dict(cudnn_benchmark=True)  # crops have one size
# The authors skip the last, smaller batch of an epoch.
train_dataloader = dict(drop_last=True)
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
