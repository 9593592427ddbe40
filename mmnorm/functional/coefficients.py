# Copyright (c) mmnorm contributors. All rights reserved.
r"""Coefficients of each norm: from plane moments to scale and shift.

A norm differs from another one in this function alone. Each function takes
the mean and the biased variance of every plane, both of shape
:math:`(N, C)`, and returns :math:`(a, b)` of the map
:math:`y = a (x - \mu) + b`. No function reads an activation, because the
moments of a set of planes of equal size follow from the plane moments,
:math:`M = \overline{\mu}` and
:math:`V = \overline{\sigma^2 + (\mu - M)^2}`, and this form subtracts no
large numbers.
"""

import torch
from torch import Tensor

from .dispatch import with_kernels
from .torch_ops import wide


@with_kernels('launch_coefficients')
def group_coefficients(
    mean: Tensor,
    var: Tensor,
    num_groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Return the coefficients of group normalization.

    Paper: https://arxiv.org/abs/1803.08494.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_groups: Number of groups of channels. Each group has its own
            statistics: 1 is layer and C instance normalization.
        weight: One number per channel or per group.
        bias: One number per channel or per group.
        eps: Added to the variance, inside the root.

    Example::

        >>> import torch
        >>> mean, var = torch.zeros(2, 8), torch.ones(2, 8)
        >>> scale, shift = group_coefficients(mean, var, 4, None, None, 0.0)
        >>> scale.shape
        torch.Size([2, 8])
    """
    n, c = mean.shape
    groups = (n, num_groups, c // num_groups)
    mean, var = mean.reshape(groups), var.reshape(groups)
    offset = mean - mean.mean(2, keepdim=True)
    rstd = ((var + offset.square()).mean(2, keepdim=True) + eps).rsqrt()
    scale = rstd.expand(groups).reshape(n, c)
    shift = (offset * rstd).reshape(n, c)
    if weight is not None:
        weight = _per_channel(weight, c)
        scale, shift = scale * weight, shift * weight
    if bias is not None:
        shift = shift + _per_channel(bias, c)
    return scale, shift


def filter_response_coefficients(
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float | Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Return the coefficients of filter response normalization.

    Paper: https://arxiv.org/abs/1911.09737.

    The mean square of a plane is :math:`\nu^2 = \sigma^2 + \mu^2`, a sum
    without cancellation.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the mean square, inside the root.
    """
    scale = weight * (var + mean.square() + eps).rsqrt()
    return scale, scale * mean + bias


@with_kernels('launch_coefficients')
def batch_coefficients(
    mean: Tensor,
    batch_mean: Tensor,
    batch_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of batch normalization.

    Paper: https://arxiv.org/abs/1502.03167.

    Args:
        mean: Plane means.
        batch_mean: Mean per channel: the batch's, or an estimate.
        batch_var: Variance per channel.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the variance, inside the root.
    """
    scale = weight * (batch_var + eps).rsqrt()
    return scale, scale * (mean - batch_mean) + bias


def renormalized_coefficients(
    mean: Tensor,
    batch: tuple[Tensor, Tensor],
    running: tuple[Tensor, Tensor],
    limits: tuple[Tensor, Tensor],
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of batch renormalization.

    Paper: https://arxiv.org/abs/1702.03275.

    Args:
        mean: Plane means.
        batch: Batch mean and variance per channel, with gradient.
        running: Running mean and variance per channel.
        limits: Limits of the factor and of the shift that correct the batch
            statistics.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to both variances, inside the root.
    """
    batch_mean, batch_var = batch
    r_max, d_max = limits
    with torch.no_grad():
        running_mean = running[0].to(batch_var.dtype)
        running_var = running[1].to(batch_var.dtype)
        running_rstd = (running_var + eps).rsqrt()
        r = (batch_var + eps).sqrt() * running_rstd
        r = torch.clamp(r, (1 / r_max).to(r), r_max.to(r))
        d = (batch_mean - running_mean) * running_rstd
        d = torch.clamp(d, -d_max.to(d), d_max.to(d))
    weight, bias = weight * r, weight * d + bias
    return batch_coefficients(mean, batch_mean, batch_var, weight, bias, eps)


@with_kernels('launch_coefficients')
def batch_channel_coefficients(
    mean: Tensor,
    var: Tensor,
    num_groups: int,
    batch: tuple[Tensor, Tensor, Tensor, Tensor, float],
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Return the coefficients of batch-channel normalization.

    Paper: https://arxiv.org/abs/1911.09738.

    The batch part :math:`z = \alpha (x - \mu) + \bar z` is an affine map,
    and therefore its planes have mean :math:`\bar z` and variance
    :math:`\alpha^2 \sigma^2`. The group norm that follows does not have to
    read the activation again.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_groups: Number of groups of the channel part.
        batch: The arguments of :func:`batch_coefficients` after ``mean``.
        weight: Weight of the channel part, per group or per channel.
        bias: Bias of the channel part, per group or per channel.
        eps: Added to the variance of the channel part, inside the root.
    """
    alpha, z_mean = batch_coefficients(mean, *batch)
    z_var = alpha.square() * var
    scale, shift = group_coefficients(
        z_mean, z_var, num_groups, weight, bias, eps
    )
    return scale * alpha, shift


@with_kernels('launch_switchable')
def switchable_coefficients(
    mean: Tensor,
    var: Tensor,
    batch: tuple[Tensor, Tensor] | None,
    mean_weight: Tensor,
    var_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of switchable normalization.

    Paper: https://arxiv.org/abs/1806.10779.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        batch: Batch mean and variance per channel; None leaves them out of
            the mix.
        mean_weight: Logits of the mix of means: instance, layer, batch.
        var_weight: Logits of the mix of variances, in the same order.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the mixed variance, inside the root.
    """
    shares = (
        logits.softmax(0, dtype=wide(logits.dtype))
        for logits in (mean_weight, var_weight)
    )
    return mixed_coefficients(mean, var, batch, *shares, weight, bias, eps)


def mixed_coefficients(
    mean: Tensor,
    var: Tensor,
    batch: tuple[Tensor, Tensor] | None,
    mean_shares: Tensor,
    var_shares: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of a norm with mixed statistics.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        batch: Batch mean and variance per channel; None leaves them out of
            the mix.
        mean_shares: Shares of the means: instance, layer, batch.
        var_shares: Shares of the variances, in the same order.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the mixed variance, inside the root.
    """
    layer_mean = mean.mean(1, keepdim=True)
    offset = mean - layer_mean
    layer_var = (var + offset.square()).mean(1, keepdim=True)
    means, variances = [mean, layer_mean], [var, layer_var]
    if batch is not None:
        means.append(batch[0])
        variances.append(batch[1])
    mixed_mean = _mix(mean_shares, means)
    mixed_var = _mix(var_shares, variances)
    scale = weight * (mixed_var + eps).rsqrt()
    return scale, scale * (mean - mixed_mean) + bias


def _mix(shares: Tensor, terms: list[Tensor]) -> Tensor:
    return sum(shares[i] * term for i, term in enumerate(terms))


def _per_channel(parameter: Tensor, num_channels: int) -> Tensor:
    # (G,) -> (C,): each group's number stands for all its channels.
    repeats = num_channels // parameter.numel()
    return parameter[:, None].expand(-1, repeats).reshape(num_channels)
