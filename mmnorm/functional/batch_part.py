# Copyright (c) mmnorm contributors. All rights reserved.
"""Describe the batch part of a norm to the fused kernels."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class BatchPart(NamedTuple):
    """The batch part of a norm, without its weight and bias.

    ``kind`` says what the batch part normalizes with: ``'given'`` for the
    running statistics as they are, ``'step'`` for the same while the sums of
    the batch are kept, ``'estimated'`` for the running statistics which the
    batch has moved, ``'biased'`` and ``'unbiased'`` for the moments of the
    batch, named for the variance that enters the running one. ``gradient``
    is ``'batch'``, ``'image'``, or empty for that of constants. ``reduce``
    adds sums over processes in place, and is None without other processes;
    with it, ``base_batch_size`` scales the momentum by the images of all.
    """

    kind: str
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    step_sums: Tensor | None
    momentum: float | None
    eps: float
    gradient: str
    share: float
    base_batch_size: int | None = None
    reduce: Callable[[Tensor], None] | None = None
