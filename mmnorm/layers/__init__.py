# Copyright (c) mmnorm contributors. All rights reserved.
"""The layers that ``norm_cfg`` and ``conv_cfg`` name; one file per norm."""

from .batch_channel_norm import BCN
from .group_norm import GN
from .switchable_norm import SN
from .sync_batch_norm import SyncBN
from .weight_standardization import ConvWS

__all__ = ['BCN', 'GN', 'SN', 'ConvWS', 'SyncBN']
