_base_ = './8xb2-2x_coco.py'

# 1 GPU x 1 image = 1 image per step; lr is 0.02 * 1 / 16 = 0.00125.
# The epochs are those of 8 GPUs, and the model sees as many images.
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.00125))
auto_scale_lr = dict(base_batch_size=1)
