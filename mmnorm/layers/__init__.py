# Copyright (c) mmnorm contributors. All rights reserved.
"""The layers that ``norm_cfg`` and ``conv_cfg`` name; one file per norm."""

from .batch_channel_norm import BCN
from .batch_norm import BN
from .batch_renorm import BRN
from .group_norm import GN
from .instance_norm import IN
from .layer_norm import LN
from .switchable_norm import SN
from .sync_batch_norm import SyncBN
from .weight_standardization import ConvWS

__all__ = ['BCN', 'BN', 'BRN', 'GN', 'IN', 'LN', 'SN', 'ConvWS', 'SyncBN']
