# Copyright (c) mmnorm contributors. All rights reserved.
"""What ``norm_cfg`` and ``conv_cfg`` can name; one file a norm."""

from .batch_channel_norm import BCN
from .group_norm import GN
from .switchable_norm import SN
from .sync_batch_norm import SyncBN
from .weight_standardization import ConvWS

__all__ = ['BCN', 'GN', 'SN', 'ConvWS', 'SyncBN']
