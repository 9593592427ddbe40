# Copyright (c) mmnorm contributors. All rights reserved.
"""What ``custom_hooks`` can name; one file a hook."""

from .fuse_norm_act_hook import FuseNormActHook
from .recalibrate_hook import RecalibrateHook
from .repeatable_hook import RepeatableHook
from .step_sync_hook import StepSyncHook

__all__ = [
    'FuseNormActHook',
    'RecalibrateHook',
    'RepeatableHook',
    'StepSyncHook',
]
