# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics to normalise with, and the running ones kept beside.

``stats`` is any module with ``running_mean``, ``running_var``,
``num_batches_tracked`` and ``momentum`` as torch's batch norms have them.
Moments that are not finite never enter the running statistics, so a step
that overflowed can be skipped and leaves no trace.
"""

import torch
from torch import Tensor, nn

from ..sync import pooled_moments


def batch_statistics(
    stats: nn.Module,
    mean: Tensor,
    var: Tensor,
    num_pixels: int,
    sync: bool,
    unbiased: bool = True,
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the batch, with gradient.

    A channel with one value in all processes, or none, has no variance:
    then the running statistics are used and not updated. In eval they are
    always used.

    Args:
        stats: Where the running statistics live.
        mean: Plane means.
        var: Biased plane variances.
        num_pixels: Pixels a plane.
        sync: Whether the batch is that of all processes.
        unbiased: Whether the running variance is corrected as torch does.
    """
    if not stats.training:
        return stats.running_mean, stats.running_var
    batch_mean, batch_var, count = pooled_moments(mean, var, num_pixels, sync)
    enough = count > 1
    correction = count / (count - 1).clamp(min=1) if unbiased else 1
    _update(stats, batch_mean, batch_var * correction, enough)
    return (
        torch.where(enough, batch_mean, stats.running_mean.clone()),
        torch.where(enough, batch_var, stats.running_var.clone()),
    )


@torch.no_grad()
def estimated_statistics(
    stats: nn.Module,
    mean: Tensor,
    var: Tensor,
    num_pixels: int,
    sync: bool,
) -> tuple[Tensor, Tensor]:
    """Running statistics that the batch has first moved, without gradient.

    The variance is taken about the estimated mean as it was before: at one
    image a step, that is what counts the variance between images.

    Args:
        stats: Where the running statistics live.
        mean: Plane means.
        var: Biased plane variances.
        num_pixels: Pixels a plane.
        sync: Whether the batch is that of all processes.
    """
    if stats.training:
        mean, var, count = pooled_moments(mean, var, num_pixels, sync)
        about_old = var + (mean - stats.running_mean).square()
        _update(stats, mean, about_old, count > 0)
    # Copies: another call in the same step moves the originals.
    return stats.running_mean.clone(), stats.running_var.clone()


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
        moved = running + rate * (new.to(running.dtype) - running)
        running.copy_(torch.where(valid, moved, running))
