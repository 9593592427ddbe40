# Copyright (c) mmnorm contributors. All rights reserved.
"""What batch norms and their like get, against what they expect."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmnorm.functional.statistics import moments_of

from .running_norms import running_norms, sums_of

FEWEST = 16
"""Values of a channel that give it a variance to compare."""


class Statistics(NamedTuple):
    """The input of a norm in units of its running statistics.

    Attributes:
        name: Of the norm.
        shift: How far its mean is off, in standard deviations: the median
            of the channels.
        ratio: Its variance over the running one: the median likewise.
    """

    name: str
    shift: float
    ratio: float

    @property
    def far_off(self) -> bool:
        """Whether the running statistics are those of some other input."""
        within = self.shift <= 1 and 1 / 10 <= self.ratio <= 10
        return not within  # also where they are not numbers


@torch.no_grad()
def input_statistics(
    model: nn.Module, forward: Callable[[], object]
) -> list[Statistics]:
    """Compare the input of each norm that has running statistics with them.

    Args:
        model: Put in evaluation.
        forward: Runs it, in whole or in part; a norm that it does not
            reach, or with a few values alone, is left out.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    handles = []
    stats = dict(running_norms(model))

    def keep(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # A head that is shared among levels is called at each.
            sums[name] = sums.get(name, 0) + sums_of(inputs[0].double())

        return hook

    for name in stats:
        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(keep(name)))
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return [
        _compare(name, stats[name], sums[name])
        for name in stats
        if name in sums and sums[name][-1] >= FEWEST
    ]


def _compare(name: str, stats: nn.Module, sums: Tensor) -> Statistics:
    mean, var, _ = moments_of(sums)
    expected = stats.running_var.double() + stats.eps
    shift = (mean - stats.running_mean).abs() / expected.sqrt()
    ratio = ((var + stats.eps) / expected).log()
    return Statistics(
        name, shift.median().item(), math.exp(ratio.median().item())
    )
