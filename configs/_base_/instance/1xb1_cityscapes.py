_base_ = './8xb1_cityscapes.py'

# 1 GPU x 1 image = 1: lr 0.01 * 1 / 8 = 0.00125; epochs, and so the images
# seen, are those of 8 GPUs.
optim_wrapper = dict(optimizer=dict(lr=0.00125))
auto_scale_lr = dict(base_batch_size=1)
