# Copyright (c) mmnorm contributors. All rights reserved.
r"""Meta normalization: gates that decide which planes share statistics.

Paper: https://proceedings.mlr.press/v97/luo19a.html.

The planes of a batch have means :math:`M` and second moments :math:`T`, both
:math:`C \times N`. The statistics of a norm are :math:`U M V` and
:math:`U T V - (U M V)^2` with a matrix over channels and a matrix over
images. Here :math:`U` is a Kronecker product of small factors, and therefore
no matrix is ever built: the channels are a grid with one dimension per
factor, and each factor pools its own dimension.
"""

from collections.abc import Iterable

from torch import Tensor

from .statistics import mix_moments

Moments = tuple[Tensor, Tensor]


def channel_factors(number: int) -> tuple[int, ...]:
    """Return a number of channels as a product of twos and an odd rest.

    Args:
        number: A positive whole number.

    Example::

        >>> channel_factors(12), channel_factors(1)
        ((2, 2, 3), ())
    """
    # The lowest set bit is the largest power of two that divides a number.
    twos = (number & -number).bit_length() - 1
    odd = number >> twos
    return (2,) * twos + (odd,) * (odd > 1)


def hard_gates(logits: Tensor) -> Tensor:
    """Return 1 for positive logits, else 0, with the gradient of a sigmoid.

    Paper of the gradient, the straight-through estimator:
    https://arxiv.org/abs/1308.3432.

    Args:
        logits: One number per gate.
    """
    soft = logits.sigmoid()
    return (logits > 0).to(soft.dtype) + (soft - soft.detach())


def meta_coefficients(
    mean: Tensor,
    var: Tensor,
    batch: Moments | None,
    batch_gate: Tensor | None,
    channel_gates: Iterable[Tensor],
    channel_sizes: Iterable[int],
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Return the coefficients of meta normalization.

    A gate of 0 is an identity, a gate of 1 averages, and a gate between them
    mixes own and pooled statistics.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        batch: Batch mean and variance per channel; None for a batch gate
            of 0.
        batch_gate: Whether the planes of a channel share the statistics of
            the batch.
        channel_gates: Whether the channels along a dimension of the grid
            share their statistics, one number per factor.
        channel_sizes: The sizes of the factors; their product is C.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the variance, inside the root.
    """
    # Each norm subtracts a mean, so the origin does not matter. Near their
    # center, means lose no digits.
    center = mean.detach().mean(1, keepdim=True)
    mean = mean - center
    shared = mean, var
    if batch is not None:
        of_batch = batch[0] - center, batch[1]
        shared = mix_moments(shared, of_batch, batch_gate)
    before, grid = 1, mean.shape
    for i, size in enumerate(channel_sizes):
        # (N, C) -> (N, factors before, this factor, factors behind)
        shape = grid[0], before, size, grid[1] // (before * size)
        shared = tuple(t.reshape(shape) for t in shared)
        shared = mix_moments(shared, _pooled(*shared), channel_gates[i])
        before *= size
    shared_mean, shared_var = shared[0].reshape(grid), shared[1].reshape(grid)
    scale = weight * (shared_var + eps).rsqrt()
    return scale, scale * (mean - shared_mean) + bias


def _pooled(mean: Tensor, var: Tensor) -> Moments:
    center = mean.mean(2, keepdim=True)
    return center, (var + (mean - center).square()).mean(2, keepdim=True)
