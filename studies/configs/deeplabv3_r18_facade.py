"""DeepLabV3 R18 with GN for the parts of facades, for one CPU core."""

_base_ = (
    '../../configs/mini/deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes.py'
)

# mmseg 1.2.2 cannot weight classes in data sets with ignored pixels.
loss = dict(class_weight=None, avg_non_ignore=True)
model = dict(
    data_preprocessor=dict(size=(224, 224)),
    decode_head=dict(num_classes=10, loss_decode=loss),
    auxiliary_head=dict(num_classes=10, loss_decode=loss),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(384, 384)),
    dict(type='RandomCrop', crop_size=(224, 224)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(384, 384)),
    # Annotations are loaded after Resize, because the truth keeps its size.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
facade = dict(
    type='BaseSegDataset',
    data_root='data/facade/',
    img_suffix='.jpg',
    seg_map_suffix='.png',
    metainfo=dict(
        classes=(
            'balcony-fence',
            'car',
            'facade',
            'fence',
            'non-building-infrastructure',
            'shop',
            'street',
            'traffic-infrastructure',
            'vegetation',
            'window',
        )
    ),
)
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
        **facade,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        # Half of the images are enough to compare norms.
        indices=list(range(0, 108, 2)),
        pipeline=test_pipeline,
        **facade,
    )
)
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(interval=1800), visualization=dict(draw=False)
)

# 3600 steps of one image see each of the 407 images 9 times.
train_cfg = dict(max_iters=3600, val_interval=1800)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=100, end=3600),
]
