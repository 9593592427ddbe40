_base_ = './cityscapes-512x1024.py'

# 4 GPUs x 2 images = 8 images per step; mmseg trains them for 40000 steps
# with lr 0.01.
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=8)
