_base_ = './resnet50_sn-all.py'

model = dict(backbone=dict(depth=101))
