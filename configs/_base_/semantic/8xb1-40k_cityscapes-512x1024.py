_base_ = './cityscapes-512x1024.py'

# 8 GPUs x 1 image = 8: lr 0.01 and 40000 steps, mmseg's own.
auto_scale_lr = dict(enable=False, base_batch_size=8)
