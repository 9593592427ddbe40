# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics to normalise with, and the running ones kept beside.

``stats`` is any module with ``running_mean``, ``running_var``,
``num_batches_tracked`` and ``momentum`` as torch's batch norms have them,
``sums`` what :func:`mmnorm.sync.batch_sums` makes of the batch of this
process. Moments that are not finite never enter the running statistics, so
a step that overflowed can be skipped and leaves no trace.
"""

import torch
from torch import Tensor, nn

from ..sync import moments_of
from .pool import Call, Pool


def running_statistics(stats: nn.Module) -> tuple[Tensor, Tensor]:
    """The running mean and variance as they stand, in tensors of their own.

    The originals move at the next call, which may come before the backward.
    """
    return stats.running_mean.clone(), stats.running_var.clone()


def batch_statistics(
    stats: nn.Module, sums: Tensor, pool: Pool, unbiased: bool = True
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the batch, with gradient.

    A channel with one value in all processes, or none, has no variance:
    then the running statistics are used and not updated. In eval they are
    always used.

    Args:
        stats: Where the running statistics live.
        sums: Of the batch of this process.
        pool: What gives the sums of all processes.
        unbiased: Whether the running variance is corrected as torch does.
    """
    if not stats.training:
        return running_statistics(stats)
    call = pool.recall(sums)
    total = pool.reduce(sums, None if call is None else call.total)
    mean, var, count = moments_of(total)
    enough = count > 1
    if call is None:
        correction = count / (count - 1).clamp(min=1) if unbiased else 1
        # Detached, for the second run must save for backward what this saves.
        _update(stats, mean, var.detach() * correction, enough)
        call = Call(sums, total, *running_statistics(stats))
        pool.remember(call)
    dtype = torch.promote_types(stats.running_mean.dtype, torch.float32)
    return (
        torch.where(enough, mean.to(dtype), call.running_mean.to(dtype)),
        torch.where(enough, var.to(dtype), call.running_var.to(dtype)),
    )


@torch.no_grad()
def estimated_statistics(
    stats: nn.Module, sums: Tensor, pool: Pool
) -> tuple[Tensor, Tensor]:
    """Running statistics that the batch has first moved, without gradient.

    Args:
        stats: Where the running statistics live.
        sums: Of the batch of this process.
        pool: What gives the sums of all processes.
    """
    if not stats.training:
        return running_statistics(stats)
    call = pool.recall(sums)
    if call is None:
        total = pool.reduce(sums)
        move_estimates(stats, total)
        call = Call(sums, total, *running_statistics(stats))
        pool.remember(call)
    return call.running_mean, call.running_var


@torch.no_grad()
def move_estimates(stats: nn.Module, total: Tensor) -> None:
    """Move the estimated statistics towards those of a batch.

    The variance is taken about the estimated mean as it was before: at one
    image a step, that is what counts the variance between images.

    Args:
        stats: Where the running statistics live.
        total: The sums of all processes.
    """
    mean, var, count = moments_of(total)
    about_old = var + (mean - stats.running_mean).square()
    _update(stats, mean, about_old, count > 0)


@torch.no_grad()
def _update(
    stats: nn.Module, mean: Tensor, var: Tensor, enough: Tensor
) -> None:
    valid = enough & mean.isfinite().all() & var.isfinite().all()
    stats.num_batches_tracked += valid
    if stats.momentum is None:  # the mean of all batches so far
        rate = 1 / stats.num_batches_tracked.clamp(min=1).double()
    else:
        rate = stats.momentum
    for running, new in (
        (stats.running_mean, mean),
        (stats.running_var, var),
    ):
        moved = running + rate * (new - running)
        running.copy_(torch.where(valid, moved.to(running.dtype), running))
