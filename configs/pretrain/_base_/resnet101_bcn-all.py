_base_ = './resnet50_bcn-all.py'

model = dict(backbone=dict(depth=101))
