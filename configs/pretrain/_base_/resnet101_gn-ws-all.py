_base_ = './resnet50_gn-ws-all.py'

model = dict(backbone=dict(depth=101))
