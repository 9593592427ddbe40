# Copyright (c) mmnorm contributors. All rights reserved.
r"""What tells one norm from another: from plane moments to scale and shift.

Each function takes the mean and the biased variance of every plane, both of
shape :math:`(N, C)`, and returns :math:`(a, b)` of the map
:math:`y = a (x - \mu) + b`. The moments of a set of planes of equal size are
:math:`M = \overline{\mu}` and
:math:`V = \overline{\sigma^2 + (\mu - M)^2}`, with no large numbers to
subtract, so nothing here reads an activation.
"""

from torch import Tensor

from .dispatch import with_kernels


@with_kernels('launch_coefficients')
def group_coefficients(
    mean: Tensor,
    var: Tensor,
    num_groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    r"""Group normalization, https://arxiv.org/abs/1803.08494.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_groups: Groups of channels, each with its own statistics; 1 is
            layer and C instance normalization.
        weight: Gain, one number a channel or one a group.
        bias: Offset, likewise.
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


@with_kernels('launch_coefficients')
def batch_coefficients(
    mean: Tensor,
    batch_mean: Tensor,
    batch_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Batch normalization, https://arxiv.org/abs/1502.03167.

    Args:
        mean: Plane means.
        batch_mean: Means a channel: the batch's, or an estimate.
        batch_var: Variances a channel.
        weight: Gain a channel.
        bias: Offset a channel.
        eps: Added to the variance, inside the root.
    """
    scale = weight * (batch_var + eps).rsqrt()
    return scale, scale * (mean - batch_mean) + bias


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
    r"""Batch-channel normalization, https://arxiv.org/abs/1911.09738.

    The batch part :math:`z = \alpha (x - \mu) + \bar z` is affine too, so
    its planes have mean :math:`\bar z` and variance
    :math:`\alpha^2 \sigma^2`: the group norm that follows needs no second
    look at the activation.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_groups: Groups of the channel part.
        batch: What :func:`batch_coefficients` takes after ``mean``.
        weight: Gain of the channel part, one number a group or a channel.
        bias: Offset of the channel part, likewise.
        eps: Of the channel part.
    """
    alpha, z_mean = batch_coefficients(mean, *batch)
    z_var = alpha.square() * var
    scale, shift = group_coefficients(
        z_mean, z_var, num_groups, weight, bias, eps
    )
    return scale * alpha, shift


@with_kernels('launch_coefficients')
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
    """Switchable normalization, https://arxiv.org/abs/1806.10779.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        batch: Batch mean and variance a channel; without them the mix is of
            instance and layer statistics alone.
        mean_weight: Logits of the mix of means: instance, layer, batch.
        var_weight: Logits of the mix of variances, in the same order.
        weight: Gain a channel.
        bias: Offset a channel.
        eps: Added to the mixed variance, inside the root.
    """
    layer_mean = mean.mean(1, keepdim=True)
    offset = mean - layer_mean
    layer_var = (var + offset.square()).mean(1, keepdim=True)
    means, variances = [mean, layer_mean], [var, layer_var]
    if batch is not None:
        means.append(batch[0])
        variances.append(batch[1])
    mixed_mean = _mix(mean_weight, means)
    mixed_var = _mix(var_weight, variances)
    scale = weight * (mixed_var + eps).rsqrt()
    return scale, scale * (mean - mixed_mean) + bias


def _mix(logits: Tensor, terms: list[Tensor]) -> Tensor:
    shares = logits.softmax(0)
    return sum(share * term for share, term in zip(shares, terms, strict=True))


def _per_channel(parameter: Tensor, num_channels: int) -> Tensor:
    # (G,) -> (C,): each group's number stands for all its channels.
    repeats = num_channels // parameter.numel()
    return parameter[:, None].expand(-1, repeats).reshape(num_channels)
