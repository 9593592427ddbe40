"""DeepLabV3 R18 with GN for streets at half their size, for one CPU core."""

_base_ = (
    '../../configs/mini/deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes.py'
)

# mmseg 1.2.2 cannot weight classes in data sets with ignored pixels.
loss = dict(class_weight=None, avg_non_ignore=True)
model = dict(
    data_preprocessor=dict(size=(180, 240)),
    decode_head=dict(num_classes=11, loss_decode=loss),
    auxiliary_head=dict(num_classes=11, loss_decode=loss),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(240, 180)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(240, 180)),
    # Annotations are loaded after Resize, because the truth keeps its size.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
camvid = dict(
    type='BaseSegDataset',
    data_root='data/camvid/',
    img_suffix='.jpg',
    seg_map_suffix='.png',
    metainfo=dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        )
    ),
)
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(
            img_path='images/train', seg_map_path='annotations/train'
        ),
        pipeline=train_pipeline,
        **camvid,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(
            img_path='images/val', seg_map_path='annotations/val'
        ),
        # Every other frame of the videos tells little more than all.
        indices=list(range(0, 101, 2)),
        pipeline=test_pipeline,
        **camvid,
    )
)
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(interval=1500), visualization=dict(draw=False)
)

# 3000 steps of one image see each of the 367 images 8 times.
train_cfg = dict(max_iters=3000, val_interval=1500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=100, end=3000),
]
