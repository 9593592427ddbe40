# Copyright (c) mmnorm contributors. All rights reserved.
"""Kalman normalization: statistics predicted by the layer before.

Paper: https://arxiv.org/abs/1802.03133. Everything here is of shape
:math:`(C)`, in float64.
"""

import math

import torch
from torch import Tensor, nn

from .statistics import mix_moments, moments_of
from .torch_ops import wide

Moments = tuple[Tensor, Tensor]
MAX_RATIO = 100  # of predicted variances, on average; that of the authors


def relu_moments(mean: Tensor, var: Tensor) -> Moments:
    """Return mean and variance of the ReLU of normal variables.

    Args:
        mean: Their means.
        var: Their variances.
    """
    mean, var = mean.double(), var.double()
    std = var.sqrt()
    ratio = mean / std.clamp(min=1e-30)
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    share = torch.special.ndtr(ratio)  # of values above 0
    first = mean * share + std * density
    second = (mean.square() + var) * share + mean * std * density
    return first, (second - first.square()).clamp(min=0)


def convolved_moments(mean: Tensor, var: Tensor, conv: nn.Conv2d) -> Moments:
    """Return mean and variance per output channel of a convolution.

    The input is a map of independent variables without a border.

    Args:
        mean: Mean per input channel.
        var: Variance per input channel.
        conv: The convolution.
    """
    weight, num_groups = conv.weight, conv.groups
    # (O, I / G, *) -> (G, O / G, I / G, pixels of the kernel)
    grid = num_groups, -1, weight.shape[1], weight[0, 0].numel()
    weight = weight.to(wide(weight.dtype)).reshape(grid)
    mean, var = (t.double().view(num_groups, -1, 1) for t in (mean, var))
    mean = (weight.sum(3).double() @ mean).flatten()
    var = (weight.square().sum(3).double() @ var).flatten()
    return mean if conv.bias is None else mean + conv.bias, var


def filtered_sums(sums: Tensor, predicted: Moments, gain: float) -> Tensor:
    r"""Return the sums of a batch whose moments a prediction has corrected.

    .. math::
        m' = (1 - q) m_p + q m, \qquad
        v' = (1 - q) v_p + q v + q (1 - q) (m - m_p)^2

    The sums stay those of the batch where the predicted variances are on
    average more than 100 times those of the batch.

    Args:
        sums: What :func:`mmnorm.functional.statistics.batch_sums` returns,
            as a total over processes.
        predicted: Predicted mean and variance per channel.
        gain: The share q of the batch.

    Shape:
        - sums: :math:`(2C + 2)`.
        - Output: the same.
    """
    mean, var, count = moments_of(sums)
    plausible = (predicted[1] / var.detach()).mean() < MAX_RATIO
    new_mean, new_var = mix_moments(predicted, (mean, var), gain)
    filtered = torch.cat((new_mean, new_var + new_mean.square()))
    filtered = torch.cat((count * filtered, sums[-2:]))
    return torch.where(plausible, filtered, sums)
