# Copyright (c) mmnorm contributors. All rights reserved.
"""A few numbers per norm that sum up the measures of all layers."""

import math
from typing import NamedTuple

import numpy as np

from .rows import Row

EARLY = 1 / 4
"""The share of the convolutions that counts as early, and as late."""


class Summary(NamedTuple):
    """The numbers of a norm in one network.

    Attributes:
        doublings: How often the activation variance doubles per layer: the
            slope of a line through its logarithm over depth.
        similarity: Mean cosine between images at the last layer.
        stable_rank: Stable rank at the last layer.
        early_gradient: Geometric mean of the gradient norm over the first
            quarter of the convolutions.
        late_gradient: The same over the last quarter.
        dead: Share of dead channels, mean over layers.
        num_layers: Number of activations.
    """

    doublings: float
    similarity: float
    stable_rank: float
    early_gradient: float
    late_gradient: float
    dead: float
    num_layers: int


def summarize(rows: list[Row]) -> dict[str, Summary]:
    """Return the summary of each norm of one network.

    Args:
        rows: The rows of the network.
    """
    names = dict.fromkeys(row.norm for row in rows)
    return {
        name: _summary([row for row in rows if row.norm == name])
        for name in names
    }


def doublings_per_layer(variances: list[float]) -> float:
    """Return the slope of the binary logarithm of variances over depth.

    Layers whose variance is 0 or not finite have no logarithm, and are left
    out.

    Args:
        variances: The variance of each layer.

    Example::

        >>> doublings_per_layer([1, 2, 4, 8])
        1.0
    """
    points = [
        (layer, math.log2(value))
        for layer, value in enumerate(variances)
        if 0 < value < math.inf
    ]
    if len(points) < 2:
        return math.nan
    depth, logs = np.array(points).T
    return round(float(np.polyfit(depth, logs, 1)[0]), 12)


def _summary(rows: list[Row]) -> Summary:
    def values(measure: str) -> list[float]:
        found = [r for r in rows if r.measure == measure and r.layer > 0]
        return [r.value for r in sorted(found, key=lambda r: r.layer)]

    gradients = values('gradient norm')
    quarter = math.ceil(EARLY * len(gradients))
    variances = values('activation variance')
    return Summary(
        doublings_per_layer(variances),
        values('similarity')[-1],
        values('stable rank')[-1],
        _geometric_mean(gradients[:quarter]),
        _geometric_mean(gradients[-quarter:]),
        float(np.mean(values('dead channels'))),
        len(variances),
    )


def _geometric_mean(values: list[float]) -> float:
    # A branch that SkipInit starts at 0 has no gradient.
    with np.errstate(divide='ignore'):
        return float(np.exp(np.mean(np.log(values))))
