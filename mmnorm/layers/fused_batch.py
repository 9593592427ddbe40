# Copyright (c) mmnorm contributors. All rights reserved.
"""The batch part of a layer, for the kernels that compute a whole norm."""

import torch
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import reducer
from mmnorm.functional.batch_part import BatchPart

from .batch_statistics import NO_ESTIMATE, Estimate
from .recomputation import is_recorded


def fused_batch_part(
    stats: nn.Module,
    x: Tensor,
    kind: str,
    group_size: int | None,
    estimate: Estimate = NO_ESTIMATE,
    step_sums: Tensor | None = None,
) -> BatchPart | None:
    """Return the batch part, if the kernels can compute it.

    They neither keep nor recall the statistics of a checkpointed function.

    Args:
        stats: As in :func:`mmnorm.layers.batch_statistics.batch_statistics`.
        x: The input of the layer, with at least one number.
        kind: As there, or ``'step'`` to keep the sums of the batch.
        group_size: As there.
        estimate: As there.
        step_sums: Sums since the last update, for ``kind='step'``.
    """
    running_mean, momentum = stats.running_mean, stats.momentum
    base_batch_size, gradient, share = estimate
    reduce = None
    if running_mean.dtype != torch.float32:
        return None
    if not stats.training:
        kind, gradient = 'given', None
    elif is_recorded():
        return None
    else:
        if kind != 'step':
            reduce = reducer(group_size)
        num_values = x.numel() // x.shape[1]
        if kind in ('biased', 'unbiased'):
            gradient, share = 'batch', 1.0
        elif gradient == 'image':
            num_values //= x.shape[0]
        scales = base_batch_size is not None and momentum is not None
        if reduce is None and scales:
            momentum *= min(x.shape[0] / base_batch_size, 1)
        # One value has no variance, and therefore no gradient. Other
        # processes may have more values of the batch.
        if num_values == 1 and (reduce is None or gradient == 'image'):
            gradient = None
    return BatchPart(
        kind,
        running_mean,
        stats.running_var,
        stats.num_batches_tracked,
        step_sums,
        momentum,
        stats.eps,
        gradient or '',
        share,
        base_batch_size,
        reduce,
    )
