_base_ = './8xb2-2x_coco.py'

# 1 GPU x 2 images = 2: lr 0.02 * 2 / 16 = 0.0025; epochs, and so the images
# seen, are those of 8 GPUs.
optim_wrapper = dict(optimizer=dict(lr=0.0025))
auto_scale_lr = dict(base_batch_size=2)
