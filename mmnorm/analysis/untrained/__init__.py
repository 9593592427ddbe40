# Copyright (c) mmnorm contributors. All rights reserved.
"""What norms do to an untrained network, measured layer by layer.

Paper: `Beyond BatchNorm: Towards a Unified Understanding of Normalization in
Deep Learning <https://arxiv.org/abs/2106.05956>`_.
"""

from .networks import NETWORKS, make_network
from .probe import Measured, measure
from .variants import Variant, parse_variant

__all__ = [
    'NETWORKS',
    'Measured',
    'Variant',
    'make_network',
    'measure',
    'parse_variant',
]
