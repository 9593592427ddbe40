_base_ = './512x512.py'

model_settings = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=171),
    auxiliary_head=dict(num_classes=171),
)
data_root = 'data/coco_stuff164k'
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/train2017', seg_map_path='annotations/train2017'
        ),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/val2017', seg_map_path='annotations/val2017'
        ),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader

# 8 GPUs x 2 images = 16 images per step; mmseg trains as many on 4 GPUs for
# 80000 steps with lr 0.01.
auto_scale_lr = dict(enable=False, base_batch_size=16)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, end=80000, by_epoch=False)
]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
