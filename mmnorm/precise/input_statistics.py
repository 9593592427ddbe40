# Copyright (c) mmnorm contributors. All rights reserved.
"""Compare the inputs of norms with their running statistics."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmnorm.functional.statistics import moments_of

from .running_norms import input_sums, running_norms

MIN_VALUES = 16
"""The smallest number of values per channel whose variance is compared."""


class InputStatistics(NamedTuple):
    """The statistics of a norm's input, relative to the running statistics.

    Attributes:
        name: The name of the norm.
        mean_shift: The distance between the input's mean and the running
            mean, in running standard deviations; the median over channels.
        var_ratio: The input's variance over the running variance; the median
            over channels.
    """

    name: str
    mean_shift: float
    var_ratio: float

    @property
    def far_off(self) -> bool:
        """Whether the running statistics belong to some other input."""
        fits = self.mean_shift <= 1 and 1 / 10 <= self.var_ratio <= 10
        return not fits  # true for NaN as well


@torch.no_grad()
def input_statistics(
    model: nn.Module, forward: Callable[[], object]
) -> list[InputStatistics]:
    """Compare the input of each norm with the norm's running statistics.

    Args:
        model: The model; put into evaluation mode.
        forward: A function that runs the model or a part of it. Norms that
            it does not call, or only with a few values, are left out.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    handles = []
    stats = dict(running_norms(model))

    def add_input_of(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # A head that levels share is called once per level.
            sums[name] = sums.get(name, 0) + input_sums(inputs[0].double())

        return hook

    for name in stats:
        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(add_input_of(name)))
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return [
        _compare(name, stats[name], sums[name])
        for name in stats
        if name in sums and sums[name][-2] >= MIN_VALUES
    ]


def _compare(name: str, stats: nn.Module, sums: Tensor) -> InputStatistics:
    mean, var, _ = moments_of(sums)
    expected = stats.running_var.double() + stats.eps
    shift = (mean - stats.running_mean).abs() / expected.sqrt()
    log_ratio = ((var + stats.eps) / expected).log()
    return InputStatistics(
        name, shift.median().item(), math.exp(log_ratio.median().item())
    )
