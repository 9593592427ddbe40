# Copyright (c) mmnorm contributors. All rights reserved.
"""Hooks for ``custom_hooks`` of a config."""

from .checkpoint_hook import CheckpointHook
from .enorm_hook import ENormHook
from .fuse_norm_act_hook import FuseNormActHook
from .kalman_hook import KalmanHook
from .norm_stats_hook import NormStatsHook
from .recalibrate_hook import RecalibrateHook
from .repeatable_hook import RepeatableHook
from .sparse_switch_hook import SparseSwitchHook
from .step_sync_hook import StepSyncHook

__all__ = [
    'CheckpointHook',
    'ENormHook',
    'FuseNormActHook',
    'KalmanHook',
    'NormStatsHook',
    'RecalibrateHook',
    'RepeatableHook',
    'SparseSwitchHook',
    'StepSyncHook',
]
