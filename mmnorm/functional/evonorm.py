# Copyright (c) mmnorm contributors. All rights reserved.
"""Evolved norms, which contain their activation.

Paper: https://arxiv.org/abs/2004.02967. They are no affine maps of a plane,
because an activation of ``x`` itself stands in the numerator or in the
denominator. Therefore they consist of torch's operators, in float32 at least.
"""

import torch
from torch import Tensor

from .coefficients import group_coefficients
from .torch_ops import over, wide


def evonorm_s0(
    x: Tensor,
    moments: tuple[Tensor, Tensor],
    num_groups: int,
    v: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Return EvoNorm-S0: a swish, divided by a group standard deviation.

    Args:
        x: Activations.
        moments: Mean and biased variance of each plane, with gradient.
        num_groups: Number of groups of channels.
        v: One number per channel, the slope inside the sigmoid.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the variance, inside the root.
    """
    scale, _ = group_coefficients(*moments, num_groups, weight, None, eps)
    z = x.to(wide(x.dtype))
    swish = z * torch.sigmoid(over(x, v) * z)
    return (swish * over(x, scale) + over(x, bias)).to(x.dtype)


def evonorm_b0(
    x: Tensor,
    var: Tensor,
    batch_var: Tensor,
    v: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Return EvoNorm-B0: x over the larger of two standard deviations.

    Args:
        x: Activations.
        var: Biased variance of each plane, with gradient.
        batch_var: Variance per channel, with gradient in training.
        v: One number per channel, the slope of x in the denominator.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to both variances, inside the roots.
    """
    z = x.to(wide(x.dtype))
    of_image = over(x, v) * z + over(x, (var + eps).sqrt())
    largest = torch.maximum(over(x, (batch_var + eps).sqrt()), of_image)
    return (z / largest * over(x, weight) + over(x, bias)).to(x.dtype)
