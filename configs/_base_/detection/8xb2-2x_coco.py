_base_ = [
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_2x.py',
    'mmdet::_base_/default_runtime.py',
]

# 8 GPUs x 2 images = 16 images per step; mmdet trains them with lr 0.02.
optim_wrapper = dict(
    # Weights, biases and mixing logits of norms are not decayed.
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
