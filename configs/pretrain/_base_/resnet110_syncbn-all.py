_base_ = '../../_base_/models/resnet110_cifar.py'

model = dict(backbone=dict(norm_cfg=dict(type='mmnorm.SyncBN')))
