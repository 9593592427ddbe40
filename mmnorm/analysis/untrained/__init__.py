# Copyright (c) mmnorm contributors. All rights reserved.
"""Layer by layer, the effect of norms on an untrained network.

Paper: `Beyond BatchNorm: Towards a Unified Understanding of Normalization in
Deep Learning <https://arxiv.org/abs/2106.05956>`_.
"""

from .claims import Claim, check_claims
from .networks import NETWORKS, make_network
from .probe import Measured, measure
from .summary import Summary, summarize
from .variants import Variant, parse_variant

__all__ = [
    'NETWORKS',
    'Claim',
    'Measured',
    'Summary',
    'Variant',
    'check_claims',
    'make_network',
    'measure',
    'parse_variant',
    'summarize',
]
