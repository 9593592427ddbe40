_base_ = './resnet110_bcn-all.py'

model = dict(backbone=dict(conv_cfg=dict(type='mmnorm.ConvWS')))
