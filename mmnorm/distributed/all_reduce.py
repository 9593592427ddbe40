# Copyright (c) mmnorm contributors. All rights reserved.
"""The sum over processes: the only communication of the layers.

N processes equal one process that sees all their images. Sums count every
plane with its number of pixels, so the processes may hold different numbers
of images of different sizes, or none. One vector of :math:`2C + 2` numbers
travels per layer, whatever the number of processes.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def all_reduce(
    sums: Tensor, group_size: int | None = None, total: Tensor | None = None
) -> Tensor:
    """Sum over the processes of a group, with one all-reduce each way.

    If there is no process group, or one process per group, the result is the
    input itself.

    Args:
        sums: The sums of this process.
        group_size: Processes per group, in order of rank; None for all.
        total: The total, where a recomputed forward knows it already: then
            the forward sends nothing.

    Raises:
        ValueError: If ``group_size`` does not divide the processes.
    """
    group = _process_group(group_size)
    return sums if group is None else _reduce(sums, group, total)


def reducer(
    group_size: int | None = None,
) -> Callable[[Tensor], None] | None:
    """Return a function that adds over processes in place, if there are any.

    Args:
        group_size: As in :func:`all_reduce`.
    """
    group = _process_group(group_size)
    return None if group is None else partial(dist.all_reduce, group=group)


def is_alone(group_size: int | None = None) -> bool:
    """Return whether :func:`all_reduce` has nothing to do.

    Args:
        group_size: As there.
    """
    return _process_group(group_size) is None


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
    # All processes reach this line together, at the first step that needs it.
    return dist.new_subgroups(group_size)[0]


@torch.compiler.disable  # a graph break, because processes wait here
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
