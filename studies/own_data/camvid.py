"""DeepLabV3 R50 with BCN on CamVid."""

_base_ = (
    '../../configs/bcn/'
    'deeplabv3_r50-d8_bcn-all_4xb2-40k_cityscapes-512x1024.py'
)

camvid = dict(
    data_root='data/camvid/',
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(
            img_path='images/train', seg_map_path='annotations/train'
        ),
        **camvid,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(
            img_path='images/val', seg_map_path='annotations/val'
        ),
        **camvid,
    )
)
test_dataloader = val_dataloader
