_base_ = './imagenet.py'

# 4 GPUs x 64 images = 256 images per step; the authors of WS and BCN train
# ResNet-50 with lr 0.1, and with a tenth of it after 30 and after 60 epochs.
# 1281167 images make 5004 steps per epoch; 90 epochs are 450360 steps.
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=90)
param_scheduler = dict(milestones=[30, 60])
auto_scale_lr = dict(base_batch_size=256)
