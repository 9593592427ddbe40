# This ResNet-110 for images of 32 x 32 has three stages of 18 blocks with 16,
# 32 and 64 channels. The _base_ folder of configs/pretrain adds the norm.
custom_imports = dict(
    imports=['mmnorm.backbones.cifar_resnet'], allow_failed_imports=False
)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CifarResNet', depth=110, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1,),
    ),
)
