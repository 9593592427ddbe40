# Copyright (c) mmnorm contributors. All rights reserved.
"""Normalization layers for OpenMMLab at one or two images a GPU."""

from .fuse_norm_act import fuse_norm_act
from .hooks import (
    FuseNormActHook,
    RecalibrateHook,
    RepeatableHook,
    StepSyncHook,
)
from .layers import BCN, GN, SN, ConvWS, SyncBN
from .registry import register_bare_names
from .safe_load import allow_mmengine_checkpoints
from .step_sync import StepSync

__version__ = '0.1.0'
__all__ = [
    'BCN',
    'GN',
    'SN',
    'ConvWS',
    'FuseNormActHook',
    'RecalibrateHook',
    'RepeatableHook',
    'StepSync',
    'StepSyncHook',
    'SyncBN',
    'fuse_norm_act',
]

register_bare_names()
allow_mmengine_checkpoints()
