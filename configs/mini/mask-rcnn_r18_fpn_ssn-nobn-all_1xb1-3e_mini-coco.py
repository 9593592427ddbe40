_base_ = '_base_/mask-rcnn_r18_fpn_mini-coco.py'

# In a batch of one image, IN and BN are the same, and none of both wins.
norm_cfg = dict(type='mmnorm.SSN', use_bn=False)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
# The shares learn at a tenth of the rate, as those of the authors.
logits = dict(lr_mult=0.1, decay_mult=0.0)
keys = dict(mean_weight=logits, var_weight=logits)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=keys))
custom_hooks = [
    dict(type='mmnorm.RepeatableHook'),
    dict(type='mmnorm.SparseSwitchHook'),
]
