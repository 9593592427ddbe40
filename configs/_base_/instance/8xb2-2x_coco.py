_base_ = [
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py',
]

# 8 GPUs x 2 images = 16: lr 0.02, mmdet's own; 24 epochs.
# Gains, offsets and the logits of switchable norms are not decayed.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
