_base_ = './8xb1-80k_cityscapes-512x1024.py'

# 4 GPUs x 2 images = 8: lr 0.01; 80000 steps, as 8 GPUs with one image.
train_dataloader = dict(batch_size=2)
