# Copyright (c) mmnorm contributors. All rights reserved.
"""Check the claims of a paper about untrained networks on measured rows.

Paper: `Beyond BatchNorm: Towards a Unified Understanding of Normalization in
Deep Learning <https://arxiv.org/abs/2106.05956>`_.
"""

import math
from itertools import combinations
from typing import NamedTuple

from torch import nn

from .networks import PLAIN
from .rows import Row
from .summary import Summary, summarize
from .variants import NO_NORM, parse_variant

DISSIMILAR = (1 / math.pi + 1) / 2
"""The middle between independent images behind a ReLU and equal images."""
INDISTINGUISHABLE = 0.9
"""The cosine of 26 degrees."""
EXPONENTIAL = 1.0
"""Growth of the variance above that of the square of the depth."""
LARGE = 10.0
"""A gradient is large against another one above this factor, a choice."""
ORDERED = 0.9
"""The share of pairs in the order of a claim that supports it: one pair of
ten may be out of order, as an untrained network is random."""


class Claim(NamedTuple):
    """Whether a claim holds, by the measurements.

    Attributes:
        network: Name of the network.
        text: The claim.
        holds: Whether it holds; None if norms that it is about are missing.
        figures: The numbers that decide.
    """

    network: str
    text: str
    holds: bool | None
    figures: str


def check_claims(rows: list[Row]) -> list[Claim]:
    """Check the claims on each network of the rows.

    1. Norms of activations prevent that the activation variance of a
       residual network grows exponentially with depth, and normalized
       weights alone do not, unless residual branches start at 0.
       ``Summary.growth`` says what is exponential.
    2. Groups of one channel keep images dissimilar at the last layer, the
       similarity grows with the size of the groups, and with all channels
       in one group images are nearly indistinguishable.
    3. Gradients in early layers grow as groups become smaller, and are large
       with groups of one channel, against one group.

    The first claim is not about plain networks. The other two are about IN,
    GN-size-... and LN.

    Args:
        rows: Rows of any number of networks and norms.
    """
    claims = []
    for network in dict.fromkeys(row.network for row in rows):
        found = summarize([r for r in rows if r.network == network])
        if network not in PLAIN:
            claims.append(_growth(network, found))
        claims += [_likeness(network, found), _gradients(network, found)]
    return claims


def share_in_order(pairs: list[tuple[float, float]]) -> float:
    """Return the share of pairs of points in which both numbers grow.

    Args:
        pairs: Points of two numbers each; the first ones differ.

    Example::

        >>> share_in_order([(1, 0.1), (2, 0.3), (4, 0.2)])
        0.6666666666666666
    """
    couples = list(combinations(sorted(pairs), 2))
    return sum(b[1] > a[1] for a, b in couples) / len(couples)


def _growth(network: str, found: dict[str, Summary]) -> Claim:
    text = (
        'norms of activations prevent exponential growth of the variance, '
        'normalized weights alone need SkipInit'
    )
    norms, weights, remedies = {}, {}, {}
    for name, summary in found.items():
        variant = parse_variant(name)
        if variant.skip_init:
            remedies[name] = summary.growth
        elif variant.norm != NO_NORM:
            norms[name] = summary.growth
        elif variant.conv is not nn.Conv2d:
            weights[name] = summary.growth
    if not norms or not weights:
        return Claim(network, text, None, 'needs norms and none+ScaledWS')
    tamed = [*norms.values(), *remedies.values()]
    holds = max(tamed) <= EXPONENTIAL < min(weights.values())
    parts = [
        f'{_extreme(max, norms)} at most with a norm',
        f'{_extreme(min, weights)} at least with normalized weights',
    ]
    if remedies:
        parts.append(f'{_extreme(max, remedies)} with SkipInit')
    figures = (
        'largest growth in a stage, against the square of the depth (limit '
        f'{EXPONENTIAL:g}): {", ".join(parts)}'
    )
    return Claim(network, text, holds, figures)


def _likeness(network: str, found: dict[str, Summary]) -> Claim:
    text = (
        'similarity grows with the size of groups, from dissimilar to nearly '
        'indistinguishable images'
    )
    sizes = _sizes(found)
    if not {1, math.inf} < sizes.keys():
        return Claim(network, text, None, 'needs IN, GN-size-... and LN')
    points = [(size, s.similarity) for size, s in sizes.items()]
    order = share_in_order(points)
    least, most = sizes[1].similarity, sizes[math.inf].similarity
    holds = (
        least <= DISSIMILAR and most >= INDISTINGUISHABLE and order >= ORDERED
    )
    figures = (
        f'similarity at the last layer {least:.3f} with IN (limit '
        f'{DISSIMILAR:.3f}), {most:.3f} with LN (limit {INDISTINGUISHABLE}), '
        f'{order:.0%} of pairs in order'
    )
    return Claim(network, text, holds, figures)


def _gradients(network: str, found: dict[str, Summary]) -> Claim:
    text = (
        'gradients in early layers grow as groups become smaller, and are '
        'large with IN'
    )
    sizes = _sizes(found)
    if not {1, math.inf} < sizes.keys():
        return Claim(network, text, None, 'needs IN, GN-size-... and LN')
    points = [(-size, s.early_gradient) for size, s in sizes.items()]
    order = share_in_order(points)
    most, least = sizes[1].early_gradient, sizes[math.inf].early_gradient
    holds = most >= LARGE * least and order >= ORDERED
    figures = (
        f'gradient norm in the first quarter {most:.3g} with IN, {least:.3g} '
        f'with LN, ratio {most / least:.3g} (limit {LARGE:g}), {order:.0%} of '
        'pairs in order'
    )
    return Claim(network, text, holds, figures)


def _sizes(found: dict[str, Summary]) -> dict[float, Summary]:
    # The size of the groups, where one size holds for all layers.
    sizes: dict[float, Summary] = {}
    for name, summary in found.items():
        if name in ('IN', 'LN'):
            sizes[1 if name == 'IN' else math.inf] = summary
        elif name.startswith('GN-size-') and '+' not in name:
            sizes.setdefault(int(name.rpartition('-')[2]), summary)
    return sizes


def _extreme(choose, slopes: dict[str, float]) -> str:
    name = choose(slopes, key=slopes.get)
    return f'{slopes[name]:.2f} ({name})'
