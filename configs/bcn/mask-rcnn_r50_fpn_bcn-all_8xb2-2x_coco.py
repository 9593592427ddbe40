_base_ = './mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco.py'

# 8 GPUs x 2 images = 16: lr 0.02 * 16 / 16 = 0.02
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=0.02))
auto_scale_lr = dict(base_batch_size=16)
