# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics over all processes: all that the layers exchange.

N processes equal one process that sees all their images: every plane counts
with its number of pixels, so the processes may hold different numbers of
images of different sizes, or none. What travels is one vector of
:math:`2C + 1` numbers a layer, whatever the number of processes.
"""

from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .functional.backend import with_kernels


@with_kernels('statistics')
def batch_sums(mean: Tensor, var: Tensor, num_pixels: int) -> Tensor:
    """First and second moments and count of a batch, ready to be added.

    In float64, where raw second moments can afford to cancel, so that one
    reduction does for both statistics.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_pixels: Pixels of each plane.

    Shape:
        - mean, var: :math:`(N, C)`; N may be 0.
        - Output: :math:`(2C + 1)`.
    """
    mean, var = mean.double(), var.double()
    first, second = mean.sum(0), (var + mean.square()).sum(0)
    count = first.new_full((1,), mean.shape[0])
    return num_pixels * torch.cat((first, second, count))


def moments_of(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and count that :func:`batch_sums` stand for.

    Both moments are 0 where the count is.

    Shape:
        - sums: :math:`(2C + 1)`.
        - Output: :math:`(C)`, :math:`(C)`, :math:`()`.
    """
    count = sums[-1].detach()
    mean, square = (sums[:-1] / count.clamp(min=1)).chunk(2)
    return mean, (square - mean.square()).clamp(min=0), count


def all_reduce(
    sums: Tensor, group_size: int | None = None, total: Tensor | None = None
) -> Tensor:
    """Sum over the processes of a group, with one reduction each way.

    Without a process group, and in a group of one, the input itself.

    Args:
        sums: What this process has.
        group_size: Processes a group, in order of rank; None for all.
        total: The sum, if it is known already: nothing is sent forward.

    Raises:
        ValueError: If ``group_size`` does not divide the processes.
    """
    group = _process_group(group_size)
    return sums if group is None else _reduce(sums, group, total)


def _process_group(group_size: int | None) -> dist.ProcessGroup | None:
    if not (dist.is_available() and dist.is_initialized()):
        return None
    num_processes = dist.get_world_size()
    if group_size is None or group_size == num_processes:
        return dist.group.WORLD if num_processes > 1 else None
    if group_size < 1 or num_processes % group_size:
        raise ValueError(
            f'norm_cfg.group_size={group_size} does not divide the '
            f'{num_processes} processes: set it to a divisor, or to None '
            'for all of them'
        )
    return None if group_size == 1 else _subgroup(dist.group.WORLD, group_size)


@lru_cache(maxsize=8)
def _subgroup(world: dist.ProcessGroup, group_size: int) -> dist.ProcessGroup:
    # All processes come here together: at their first step with this size.
    return dist.new_subgroups(group_size)[0]


@torch.compiler.disable  # a break in the graph, where processes meet
def _reduce(
    sums: Tensor, group: dist.ProcessGroup, total: Tensor | None
) -> Tensor:
    return _AllReduce.apply(sums, group, total)


class _AllReduce(Function):
    """Sum over processes, whose gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx, sums, group, total) -> Tensor:
        ctx.group = group
        return _reduced(sums, group) if total is None else total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return _reduced(grad, ctx.group), None, None


def _reduced(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x, group=group)
    return x
