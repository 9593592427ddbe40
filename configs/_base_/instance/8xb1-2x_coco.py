_base_ = './8xb2-2x_coco.py'

# 8 GPUs x 1 image = 8 images per step; lr is 0.02 * 8 / 16 = 0.01.
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
