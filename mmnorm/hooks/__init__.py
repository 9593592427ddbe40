# Copyright (c) mmnorm contributors. All rights reserved.
"""What ``custom_hooks`` can name; one file a hook."""

from .fuse_norm_act import FuseNormActHook
from .repeatable import RepeatableHook
from .step_sync import StepSyncHook

__all__ = ['FuseNormActHook', 'RepeatableHook', 'StepSyncHook']
