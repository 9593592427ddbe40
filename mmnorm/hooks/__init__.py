# Copyright (c) mmnorm contributors. All rights reserved.
"""What ``custom_hooks`` can name; one file a hook."""

from .fuse_norm_act import FuseNormActHook
from .recalibrate import RecalibrateHook
from .repeatable import RepeatableHook
from .step_sync import StepSyncHook

__all__ = [
    'FuseNormActHook',
    'RecalibrateHook',
    'RepeatableHook',
    'StepSyncHook',
]
