# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms with running statistics in a model, and sums of their inputs."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm.functional.dispatch import ops_for
from mmnorm.functional.statistics import batch_sums
from mmnorm.layers import BCN, BKN, SN, EvoNormB0, MetaNorm

RUNNING = (_BatchNorm, EvoNormB0, MetaNorm, SN)


def running_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each norm, and the module with its statistics.

    Args:
        model: A model. The statistics of a :class:`BCN` are in its child,
            which is no norm by itself, because it is never called.

    Example::

        >>> [name for name, _ in running_norms(nn.Sequential(BCN(32)))]
        ['0']
    """
    inner = set()
    for name, module in model.named_modules():
        stats = module.bn if isinstance(module, BCN) else module
        if module in inner or not isinstance(stats, RUNNING):
            continue
        if isinstance(stats, BKN):  # predictions are a part of its statistics
            continue
        inner.add(stats)
        if stats.running_mean is not None:
            yield name, stats


def input_sums(x: Tensor) -> Tensor:
    """Return :func:`mmnorm.functional.statistics.batch_sums` of an input.

    Shape:
        - x: :math:`(N, C, *)`.
        - Output: :math:`(2C + 2)`.
    """
    if x.dim() == 2:
        x = x[..., None]
    mean, var = ops_for(x).moments(x)
    return batch_sums(mean, var, x.shape[2:].numel())
