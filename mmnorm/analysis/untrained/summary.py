# Copyright (c) mmnorm contributors. All rights reserved.
"""A few numbers per norm that sum up the measures of all layers."""

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

from .rows import Row, last_of_blocks

EARLY = 1 / 4
"""The share of the convolutions that counts as early, and as late."""
LEAST_BLOCKS = 5
"""Blocks of a stage from which linear and exponential growth differ."""


class Summary(NamedTuple):
    """The numbers of a norm in one network.

    Attributes:
        doublings: How often the activation variance doubles per block: the
            slope of a line through its logarithm over depth. A layer that is
            in no block counts as one.
        growth: The slope, divided by that of the square of the depth, in the
            network or in the stage where this is largest. A stage is a run
            of five or more blocks of equal width: at its end a norm in the
            shortcut ends the growth. Growth above 1 is exponential, because
            a sum of branches of equal variance grows linearly.
        similarity: Mean cosine between images at the last layer.
        stable_rank: Stable rank at the last layer.
        early_gradient: Geometric mean of the gradient norm over the first
            quarter of the convolutions.
        late_gradient: The same over the last quarter.
        dead: Share of dead channels, mean over layers.
    """

    doublings: float
    growth: float
    similarity: float
    stable_rank: float
    early_gradient: float
    late_gradient: float
    dead: float


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


def doublings_of(variances: list[float]) -> float:
    """Return the slope of the binary logarithm of variances over depth.

    Layers whose variance is 0 or not finite have no logarithm, and are left
    out.

    Args:
        variances: The variance of each layer.

    Example::

        >>> doublings_of([1, 2, 4, 8])
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
    def of(measure: str) -> list[Row]:
        found = [r for r in rows if r.measure == measure and r.layer > 0]
        return sorted(found, key=lambda row: row.layer)

    def values(measure: str) -> list[float]:
        return [row.value for row in of(measure)]

    gradients = values('gradient norm')
    quarter = math.ceil(EARLY * len(gradients))
    blocks = last_of_blocks(of('activation variance'))
    return Summary(
        doublings_of([row.value for row in blocks]),
        _growth(blocks),
        values('similarity')[-1],
        values('stable rank')[-1],
        _geometric_mean(gradients[:quarter]),
        _geometric_mean(gradients[-quarter:]),
        float(np.mean(values('dead channels'))),
    )


def _growth(blocks: list[Row]) -> float:
    stages = [list(run) for _, run in groupby(blocks, lambda r: r.channels)]
    runs = [blocks, *(run for run in stages if len(run) >= LEAST_BLOCKS)]
    ratios = []
    for run in runs:
        square = doublings_of([n**2 for n in range(1, len(run) + 1)])
        ratios.append(doublings_of([row.value for row in run]) / square)
    return max(ratios)


def _geometric_mean(values: list[float]) -> float:
    # A branch that SkipInit starts at 0 has no gradient.
    with np.errstate(divide='ignore'):
        return float(np.exp(np.mean(np.log(values))))
