# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics to normalize with, over processes and over time."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import all_reduce
from mmnorm.functional.statistics import (
    batch_sums,
    moments_of,
    update_statistics,
    with_gradient_of,
)
from mmnorm.functional.torch_ops import wide

from .recomputation import Call, recall, record


class Estimate(NamedTuple):
    """How running statistics that normalize follow a batch."""

    # The images that the momentum is meant for; None for any number.
    base_batch_size: int | None = None
    gradient: str | None = None  # of the 'batch', or of each 'image'
    share: float = 1.0


NO_ESTIMATE = Estimate()


def batch_statistics(
    stats: nn.Module,
    mean: Tensor,
    var: Tensor,
    num_pixels: int,
    kind: str,
    group_size: int | None,
    estimate: Estimate = NO_ESTIMATE,
) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance per channel to normalize with.

    In training they are those of the batch of all processes, with gradient,
    or the running statistics which this batch has moved. If a channel has at
    most one value in all processes, it has no variance: then the running
    statistics are used and not updated. In evaluation the running statistics
    are used as they are.

    Args:
        stats: Any module with ``running_mean``, ``running_var``,
            ``num_batches_tracked``, ``momentum`` and ``training`` as torch's
            batch norms have them.
        mean: Plane means of this process.
        var: Biased plane variances of this process.
        num_pixels: Pixels per plane.
        kind: ``'estimated'`` for the running statistics; ``'biased'`` or
            ``'unbiased'`` for those of the batch, named for the variance
            that enters the running one.
        group_size: Processes that share statistics; None for all, 1 for
            this process alone.
        estimate: How ``'estimated'`` statistics follow the batch.

    Shape:
        - mean, var: :math:`(N, C)`; N may be 0.
        - Output: :math:`(C)` and :math:`(C)`, or :math:`(N, C)` with the
          gradient of each image.
    """
    if not stats.training:
        return _wide(stats)
    estimated = kind == 'estimated'
    constant = estimated and estimate.gradient != 'batch'
    with torch.set_grad_enabled(torch.is_grad_enabled() and not constant):
        first, total = recall(stats), None
        if first is None or not constant:
            # A second run calls the same operators as the first run, because
            # torch compares what both save for the backward.
            total = all_reduce(
                batch_sums(mean, var, num_pixels),
                group_size,
                None if first is None else first.total,
            )
        if first is not None and estimated:
            result = _wide(first)
        else:
            running = stats if first is None else first
            result = update_statistics(
                total.detach() if estimated else total,
                running.running_mean,
                running.running_var,
                stats.num_batches_tracked,
                stats.momentum,
                kind,
                first is None,
                estimate.base_batch_size,
            )
    if first is None:
        record(stats, lambda: _call(total, stats))
    return _with_gradient(
        result, estimate, (mean, var), num_pixels, total, stats.eps
    )


def keep_for_step(
    stats: nn.Module,
    mean: Tensor,
    var: Tensor,
    num_pixels: int,
    step_sums: Tensor,
    estimate: Estimate,
) -> tuple[Tensor, Tensor]:
    """Return the running statistics, and keep the sums for the next update.

    The gradient of the batch is that of the images of this process.

    Args:
        stats: As in :func:`batch_statistics`.
        mean: Plane means of this process.
        var: Biased plane variances of this process.
        num_pixels: Pixels per plane.
        step_sums: Sums since the last update; those of this batch are added.
        estimate: The gradient of the running statistics.

    Shape:
        - mean, var: :math:`(N, C)`; N may be 0.
        - Output: :math:`(C)` and :math:`(C)`, or :math:`(N, C)` with the
          gradient of each image.
    """
    first, sums = recall(stats), None
    reads_batch = estimate.gradient == 'batch'
    if first is None or reads_batch:
        with torch.set_grad_enabled(torch.is_grad_enabled() and reads_batch):
            sums = batch_sums(mean, var, num_pixels)
    if first is None:
        step_sums += sums.detach()
        first = _call(sums, stats)
        record(stats, lambda: first)
    return _with_gradient(
        _wide(first), estimate, (mean, var), num_pixels, sums, stats.eps
    )


def _with_gradient(
    estimates: tuple[Tensor, Tensor],
    estimate: Estimate,
    planes: tuple[Tensor, Tensor],
    num_pixels: int,
    sums: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    _, gradient, share = estimate
    if gradient is None:
        return estimates
    if gradient == 'image':
        batch, share = planes, share * (num_pixels > 1)
    else:
        *batch, count = moments_of(sums)
        share = share * (count > 1).to(planes[0].dtype)
    return with_gradient_of(batch, estimates, eps, share)


def _wide(running: nn.Module | Call) -> tuple[Tensor, Tensor]:
    # A variance of 1e-6 has an inverse that is inf in float16.
    dtype = wide(running.running_mean.dtype)
    return running.running_mean.to(dtype), running.running_var.to(dtype)


def _call(total: Tensor, stats: nn.Module) -> Call:
    running = stats.running_mean.clone(), stats.running_var.clone()
    return Call(total.detach(), *running)
