_base_ = './imagenet.py'

# 4 GPUs x 32 images = 128 images per step; the authors of WS and BCN train
# ResNet-101 with lr 0.1, too: a tenth of it after 30, 60 and 90 epochs.
# 1281167 images make 10009 steps per epoch; 100 epochs are 1000900 steps.
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=100)
param_scheduler = dict(milestones=[30, 60, 90])
auto_scale_lr = dict(base_batch_size=128)
