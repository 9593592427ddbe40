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

from ..functional.backend import with_kernels
from ..sync import moments_of
from .pool import Pool


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
    kind = 'unbiased' if unbiased else 'biased'
    call = pool.recall(sums)
    if call is not None:
        # The same operators, for the second run must save for backward what
        # the first has saved.
        total = pool.reduce(sums, call.total)
        return settle(total, *_tracked(stats, call), kind, False)
    total = pool.reduce(sums)
    settled = settle(total, *_tracked(stats, stats), kind)
    pool.remember(sums, total, stats)
    return settled


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
    if call is not None:
        return call.running_mean, call.running_var
    total = pool.reduce(sums)
    moved = move_estimates(stats, total)
    pool.remember(sums, total, stats)
    return moved


@torch.no_grad()
def move_estimates(stats: nn.Module, total: Tensor) -> tuple[Tensor, Tensor]:
    """Move the estimated statistics towards those of a batch.

    The variance is taken about the estimated mean as it was before: at one
    image a step, that is what counts the variance between images.

    Args:
        stats: Where the running statistics live.
        total: The sums of all processes.
    """
    return settle(total, *_tracked(stats, stats), 'estimated')


@with_kernels('statistics')
def settle(
    sums: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    momentum: float | None,
    kind: str,
    update: bool = True,
) -> tuple[Tensor, Tensor]:
    """Mean and variance to normalise with, once the running ones have moved.

    Args:
        sums: Of all processes.
        running_mean: Moved in place, as are the next two.
        running_var: Likewise.
        num_batches_tracked: Likewise.
        momentum: Share of the new batch.
        kind: ``'estimated'`` to normalise with the running statistics,
            ``'biased'`` or ``'unbiased'`` for those of the batch, by which
            variance the running one keeps.
        update: Whether to move anything.
    """
    mean, var, count = moments_of(sums)
    enough = count > (0 if kind == 'estimated' else 1)
    if update:
        with torch.no_grad():
            new_var = var
            if kind == 'unbiased':
                new_var = var * count / (count - 1).clamp(min=1)
            elif kind == 'estimated':
                new_var = var + (mean - running_mean).square()
            valid = enough & mean.isfinite().all() & new_var.isfinite().all()
            num_batches_tracked += valid
            if momentum is None:  # the mean of all batches so far
                momentum = 1 / num_batches_tracked.clamp(min=1).double()
            for running, new in (
                (running_mean, mean),
                (running_var, new_var),
            ):
                moved = (running + momentum * (new - running)).to(running)
                running.copy_(torch.where(valid, moved, running))
    if kind == 'estimated':
        return running_mean.clone(), running_var.clone()
    dtype = torch.promote_types(running_mean.dtype, torch.float32)
    return (
        torch.where(enough, mean.to(dtype), running_mean.to(dtype)),
        torch.where(enough, var.to(dtype), running_var.to(dtype)),
    )


def _tracked(stats: nn.Module, running: object) -> tuple:
    return (
        running.running_mean,
        running.running_var,
        stats.num_batches_tracked,
        stats.momentum,
    )
