"""DeepLabV3 R50 for street scenes at their whole size, for a GPU."""

_base_ = '../deeplabv3_r18_camvid.py'

model = dict(
    data_preprocessor=dict(size=(360, 480)),
    backbone=dict(depth=50, base_channels=64),
    decode_head=dict(in_channels=2048, channels=256, dilations=(1, 6, 12, 18)),
    auxiliary_head=dict(in_channels=1024, channels=256),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (480, 360)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (480, 360)
train_dataloader = dict(num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=4, dataset=dict(indices=None, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

# 8808 steps of one image see each of the 367 images 24 times.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
train_cfg = dict(max_iters=8808, val_interval=8808)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=300),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=300, end=8808),
]
