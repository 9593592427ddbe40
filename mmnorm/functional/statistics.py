# Copyright (c) mmnorm contributors. All rights reserved.
"""Statistics of a batch, and the update of the running ones.

Plane moments become sums, which add up over images and processes; sums
become a mean and a variance per channel, which move the running statistics.
Everything here is of shape :math:`(N, C)` or smaller.
"""

import torch
from torch import Tensor

from .dispatch import with_kernels
from .torch_ops import wide


@with_kernels('launch_statistics')
def batch_sums(mean: Tensor, var: Tensor, num_pixels: int) -> Tensor:
    """Sum the moments of a batch, and count its pixels and its images.

    The sums are in float64, where raw second moments can afford to cancel,
    so that one all-reduce serves both statistics.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_pixels: Pixels per plane.

    Shape:
        - mean, var: :math:`(N, C)`; N may be 0.
        - Output: :math:`(2C + 2)`.
    """
    mean, var = mean.double(), var.double()
    first, second = mean.sum(0), (var + mean.square()).sum(0)
    num_images = first.new_full((1,), mean.shape[0])
    sums = num_pixels * torch.cat((first, second, num_images))
    return torch.cat((sums, num_images))


def moments_of(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, the biased variance and the count behind the sums.

    Both moments are 0 where the count is.

    Args:
        sums: What :func:`batch_sums` returns, or a total of several.

    Shape:
        - sums: :math:`(2C + 2)`.
        - Output: :math:`(C)`, :math:`(C)`, :math:`()`.
    """
    count = sums[-2].detach()
    mean, square = (sums[:-2] / count.clamp(min=1)).chunk(2)
    return mean, (square - mean.square()).clamp(min=0), count


def mix_moments(
    own: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    share: float | Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Return the mean and the variance of a mixture of two distributions.

    .. math::
        (1 - g) m + g M, \qquad
        (1 - g) v + g V + g (1 - g) (m - M)^2

    The sum has no cancellation.

    Args:
        own: Mean :math:`m` and variance :math:`v`.
        other: Mean :math:`M` and variance :math:`V`.
        share: The share :math:`g` of the other distribution.
    """
    rest = 1 - share
    mean = rest * own[0] + share * other[0]
    var = rest * own[1] + share * other[1]
    return mean, var + share * rest * (own[0] - other[0]).square()


@with_kernels('launch_statistics')
def update_statistics(
    sums: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    momentum: float | None,
    kind: str,
    update: bool = True,
    base_batch_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Move the running statistics and return those to normalize with.

    Moments that are not finite never enter the running statistics, so a
    step that overflowed can be skipped and leaves no trace.

    Args:
        sums: Sums of all processes.
        running_mean: Running mean, updated in place.
        running_var: Running variance, updated in place.
        num_batches_tracked: Number of updates so far, updated in place.
        momentum: Share of the new batch, or None for the mean of all
            batches so far.
        kind: ``'estimated'`` returns the running statistics after the
            update; ``'biased'`` and ``'unbiased'`` return the batch's, and
            name the variance that enters the running one.
        update: Whether to update anything.
        base_batch_size: Number of images that the momentum is meant for: a
            batch of fewer images moves the statistics in proportion. None
            for the same momentum for all batches.
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
            elif base_batch_size is not None:
                batch_size = sums[-1].clamp(max=base_batch_size)
                momentum = momentum * batch_size / base_batch_size
            for running, new in (
                (running_mean, mean),
                (running_var, new_var),
            ):
                moved = (running + momentum * (new - running)).to(running)
                running.copy_(torch.where(valid, moved, running))
    dtype = wide(running_mean.dtype)
    if kind == 'estimated':
        # Copies, because the next forward moves the originals, and it may
        # come before the backward of this one.
        return tuple(
            running.to(dtype, copy=True)
            for running in (running_mean, running_var)
        )
    return (
        torch.where(enough, mean.to(dtype), running_mean.to(dtype)),
        torch.where(enough, var.to(dtype), running_var.to(dtype)),
    )


def with_gradient_of(
    batch: tuple[Tensor, Tensor],
    estimates: tuple[Tensor, Tensor],
    eps: float,
    share: float | Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Give estimates the gradient of a batch, and keep their values.

    Paper: `Batch Renormalization <https://arxiv.org/abs/1702.03275>`_.

    With :math:`m, v` the moments of a batch and :math:`M, V` the estimates,
    batch renormalization is

    .. math::
        z = \frac{x - m}{\sqrt{v + \epsilon}} r + d, \qquad
        r = \sqrt{\frac{v + \epsilon}{V + \epsilon}}, \qquad
        d = \frac{m - M}{\sqrt{V + \epsilon}}

    without a gradient through :math:`r` and :math:`d`. The value of
    :math:`z` is :math:`(x - M) / \sqrt{V + \epsilon}`, and the gradient is
    that of a batch normalization, scaled by :math:`r`. A normalization with
    the returned mean and variance has both.

    Args:
        batch: Mean and variance of the batch, with gradient.
        estimates: Mean and variance whose values are returned.
        eps: The eps of the normalization.
        share: Share of this gradient: 0 leaves constants, 1 is batch
            renormalization. The values do not depend on the share.

    Shape:
        - batch: :math:`(C)`, or :math:`(N, C)` for one batch per image.
        - estimates: :math:`(C)`.
        - Output: the shape of ``batch``.
    """
    mean, var = estimates
    batch_mean, batch_var = batch[0].to(mean.dtype), batch[1].to(mean.dtype)
    # Differences of a tensor and its own value are 0, with a gradient.
    mean_step = batch_mean - batch_mean.detach()
    var_step = batch_var - batch_var.detach()
    rate = share / (batch_var.detach() + eps)
    offset = batch_mean.detach() - mean
    return (
        mean + share * mean_step - 0.5 * rate * offset * var_step,
        var + rate * (var + eps) * var_step,
    )
