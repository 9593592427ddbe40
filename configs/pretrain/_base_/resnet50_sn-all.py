_base_ = 'mmpretrain::_base_/models/resnet50.py'

# The statistics of the batch are those of one GPU, as in the authors' code.
model = dict(backbone=dict(norm_cfg=dict(type='mmnorm.SN', sync=False)))
