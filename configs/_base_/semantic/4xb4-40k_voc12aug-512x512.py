_base_ = './512x512.py'

model_settings = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
data_root = 'data/VOCdevkit/VOC2012'
train, aug = (
    dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path=labels),
        ann_file=f'ImageSets/Segmentation/{names}.txt',
        pipeline=_base_.train_pipeline,
    )
    for names, labels in (
        ('train', 'SegmentationClass'),
        ('aug', 'SegmentationClassAug'),
    )
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(type='ConcatDataset', datasets=[train, aug]),
)
val_dataloader = dict(
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader

# 4 GPUs x 4 images = 16 images per step; mmseg trains them for 40000 steps
# with lr 0.01.
auto_scale_lr = dict(enable=False, base_batch_size=16)
