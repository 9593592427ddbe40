_base_ = './resnet50_bcn-ws-all.py'

model = dict(backbone=dict(depth=101))
