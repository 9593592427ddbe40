# Copyright (c) mmnorm contributors. All rights reserved.
"""Normalization layers for OpenMMLab at one or two images per GPU."""

from .deploy.fuse_norm_act import fuse_norm_act
from .distributed.step_sync import StepSync
from .engine.hooks import (
    ENormHook,
    FuseNormActHook,
    KalmanHook,
    NormStatsHook,
    RecalibrateHook,
    RepeatableHook,
    SparseSwitchHook,
    StepSyncHook,
)
from .engine.runner.safe_load import allow_mmengine_checkpoints
from .layers import (
    BCN,
    BKN,
    BN,
    BRN,
    FRN,
    GN,
    GW,
    IC,
    IN,
    LN,
    MABN,
    SN,
    SSN,
    ConvIC,
    ConvWC,
    ConvWS,
    EvoNormB0,
    EvoNormS0,
    MetaNorm,
    ScaledConvWS,
    SyncBN,
    connect_kalman,
)
from .layers.recomputation import record_checkpoints
from .registry import register_bare_names
from .transforms import AmplitudePhaseRecombination

__version__ = '0.1.0'
__all__ = [
    'BCN',
    'BKN',
    'BN',
    'BRN',
    'FRN',
    'GN',
    'GW',
    'IC',
    'IN',
    'LN',
    'MABN',
    'SN',
    'SSN',
    'AmplitudePhaseRecombination',
    'ConvIC',
    'ConvWC',
    'ConvWS',
    'ENormHook',
    'EvoNormB0',
    'EvoNormS0',
    'FuseNormActHook',
    'KalmanHook',
    'MetaNorm',
    'NormStatsHook',
    'RecalibrateHook',
    'RepeatableHook',
    'ScaledConvWS',
    'SparseSwitchHook',
    'StepSync',
    'StepSyncHook',
    'SyncBN',
    'connect_kalman',
    'fuse_norm_act',
]

register_bare_names()
record_checkpoints()
allow_mmengine_checkpoints()
