# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms with running statistics, and what there is to say of their inputs."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm.functional.dispatch import ops_for
from mmnorm.functional.statistics import batch_sums
from mmnorm.layers import BCN, SN


def running_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names of norms, and where the running statistics of each are.

    Args:
        model: What holds them. Of a :class:`BCN`, the statistics are in its
            child, which is no norm of its own: it is never called.

    Example::

        >>> [name for name, _ in running_norms(nn.Sequential(BCN(32)))]
        ['0']
    """
    inner = set()
    for name, module in model.named_modules():
        stats = module.bn if isinstance(module, BCN) else module
        if module in inner or not isinstance(stats, (_BatchNorm, SN)):
            continue
        inner.add(stats)
        if stats.running_mean is not None:
            yield name, stats


def sums_of(x: Tensor) -> Tensor:
    """:func:`mmnorm.functional.statistics.batch_sums` of the input of a norm.

    Shape:
        - x: :math:`(N, C, *)`.
        - Output: :math:`(2C + 1)`.
    """
    if x.dim() == 2:
        x = x[..., None]
    mean, var = ops_for(x).moments(x)
    return batch_sums(mean, var, x.shape[2:].numel())
