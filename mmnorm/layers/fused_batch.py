# Copyright (c) mmnorm contributors. All rights reserved.
"""The batch part of a layer, for the kernels that compute a whole norm."""

import torch
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import is_alone
from mmnorm.functional.batch_part import BatchPart

from .batch_statistics import NO_ESTIMATE, Estimate
from .recomputation import is_recorded


def local_batch_part(
    stats: nn.Module,
    x: Tensor,
    kind: str,
    group_size: int | None,
    estimate: Estimate = NO_ESTIMATE,
    step_sums: Tensor | None = None,
) -> BatchPart | None:
    """Return the batch part, if this process can compute it in the kernels.

    The kernels exchange nothing with other processes, and neither keep nor
    recall the statistics of a checkpointed function.

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
    if running_mean.dtype != torch.float32:
        return None
    if not stats.training:
        kind, gradient = 'given', None
    elif is_recorded() or (kind != 'step' and not is_alone(group_size)):
        return None
    else:
        if base_batch_size is not None and momentum is not None:
            momentum *= min(x.shape[0] / base_batch_size, 1)
        num_values = x.numel() // x.shape[1]
        if kind in ('biased', 'unbiased'):
            gradient, share = 'batch', 1.0
            if num_values == 1:
                kind = 'given'
        elif gradient == 'image':
            num_values //= x.shape[0]
        if num_values == 1:  # no variance, and therefore no gradient
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
    )
