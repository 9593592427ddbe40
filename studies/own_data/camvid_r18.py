"""The mini DeepLabV3 R18 with BCN on CamVid."""

_base_ = (
    '../../configs/mini/deeplabv3_r18-d8_bcn-all_1xb1-2k_mini-cityscapes.py'
)

camvid = dict(
    data_root='data/camvid/',
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(
            img_path='images/train', seg_map_path='annotations/train'
        ),
        **camvid,
    )
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
# mmseg 1.2.2 cannot weight classes in data sets with ignored pixels.
model = dict(
    decode_head=dict(loss_decode=dict(class_weight=None)),
    auxiliary_head=dict(loss_decode=dict(class_weight=None)),
)
