_base_ = './8xb1-40k_cityscapes-512x1024.py'

# 4 GPUs x 2 images = 8: lr 0.01; 40000 steps, as 8 GPUs with one image.
train_dataloader = dict(batch_size=2)
