_base_ = './1xb128-164e_cifar10.py'

model_settings = dict(head=dict(num_classes=100))
data_preprocessor = dict(num_classes=100)
dataset = dict(type='CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader

# 1 GPU x 128 images = 128 images per step; pytorch-classification, which the
# authors of WS have forked, trains ResNet-110 with lr 0.1, and with a tenth
# of it after 81 and after 122 epochs.
# 50000 images make 391 steps per epoch; 164 epochs are 64124 steps.
