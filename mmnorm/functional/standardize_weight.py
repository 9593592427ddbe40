# Copyright (c) mmnorm contributors. All rights reserved.
"""Filters with mean 0 and standard deviation 1."""

import torch
from torch import Tensor

from .normalize import normalize


def standardize_weight(
    weight: Tensor,
    eps: float,
    unbiased: bool,
    eps_inside_root: bool,
    gain: Tensor | None = None,
) -> Tensor:
    r"""Return filters with mean 0 and standard deviation 1, or a gain.

    Paper: `Weight Standardization <https://arxiv.org/abs/1903.10520>`_.

    .. math::
        \hat W_o = g_o \frac{W_o - \overline{W_o}}{s(W_o) + \epsilon}
        \quad\text{or}\quad
        g_o \frac{W_o - \overline{W_o}}{\sqrt{s^2(W_o) + \epsilon}}

    The statistics are those of the fan-in of each output channel, in float32
    at least. A filter of equal weights becomes 0 and has a finite gradient.

    Args:
        weight: The weight of a convolution.
        eps: The epsilon of the formula.
        unbiased: Whether the variance is divided by the fan-in minus 1.
        eps_inside_root: Whether the second formula holds, with the epsilon
            inside the root.
        gain: A factor per output channel, or None.

    Shape:
        - weight: :math:`(C_{out}, C_{in}, *)`.
        - gain: :math:`(C_{out})`.
        - Output: that of ``weight``, in its dtype.

    Example::

        >>> weight = torch.tensor([[[0.0, 1.0, 2.0]]])
        >>> standardize_weight(weight, 0.0, True, False)
        tensor([[[-1.,  0.,  1.]]])
    """

    def coefficients(
        mean: Tensor, var: Tensor, fan_in: int
    ) -> tuple[Tensor, Tensor]:
        if unbiased:
            var = var * (fan_in / max(fan_in - 1, 1))
        # The root has no gradient at 0.
        tiny = torch.finfo(var.dtype).tiny
        if eps_inside_root:
            scale = (var + eps).clamp(min=tiny).rsqrt()
        else:
            scale = 1 / (var.clamp(min=tiny).sqrt() + eps)
        if gain is not None:
            scale = scale * gain
        return scale, torch.zeros_like(mean)

    # A weight looks like one image with a plane per output channel.
    planes = weight.flatten(1)[None]
    return normalize(planes, coefficients).view_as(weight)
