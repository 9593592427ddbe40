_base_ = 'mmpretrain::_base_/models/resnet50.py'

# The batch is large: BCN has the statistics of the batch, and those of one GPU
# as the authors' code.
norm_cfg = dict(type='mmnorm.BCN', num_groups=32, estimate=False, sync=False)
model = dict(backbone=dict(norm_cfg=norm_cfg))
