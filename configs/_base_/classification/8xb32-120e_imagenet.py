_base_ = './imagenet.py'

# 8 GPUs x 32 images = 256 images per step; the authors of SN warm up to
# lr 0.1 in 5 epochs, and then follow a cosine to 0. The authors also vary the
# colors along their principal components, which this config does not do.
# 1281167 images make 5004 steps per epoch; 120 epochs are 600480 steps.
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=120)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        end=5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        begin=5,
        end=120,
        T_max=115,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=256)
