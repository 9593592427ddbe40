# Copyright (c) mmnorm contributors. All rights reserved.
"""The layers that ``norm_cfg`` and ``conv_cfg`` name; one file per norm."""

from .batch_channel_norm import BCN
from .batch_kalman_norm import BKN
from .batch_norm import BN
from .batch_renorm import BRN
from .evonorm_b0 import EvoNormB0
from .evonorm_s0 import EvoNormS0
from .filter_response_norm import FRN
from .group_norm import GN
from .group_whitening import GW
from .independent_component import IC
from .independent_component_conv import ConvIC
from .instance_norm import IN
from .kalman_chain import connect_kalman
from .layer_norm import LN
from .meta_norm import MetaNorm
from .moving_average_batch_norm import MABN
from .scaled_weight_standardization import ScaledConvWS
from .sparse_switchable_norm import SSN
from .switchable_norm import SN
from .sync_batch_norm import SyncBN
from .weight_centralization import ConvWC
from .weight_standardization import ConvWS

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
    'SN',
    'SSN',
    'MABN',
    'ConvIC',
    'ConvWC',
    'ConvWS',
    'EvoNormB0',
    'EvoNormS0',
    'MetaNorm',
    'ScaledConvWS',
    'SyncBN',
    'connect_kalman',
]
