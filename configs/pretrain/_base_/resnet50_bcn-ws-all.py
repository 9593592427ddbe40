_base_ = './resnet50_bcn-all.py'

model = dict(backbone=dict(conv_cfg=dict(type='mmnorm.ConvWS')))
