# Copyright (c) mmnorm contributors. All rights reserved.
"""Equi-normalization: factors that make two layers equally large.

The weight of a convolution has its output channels in the first dimension and
its input channels, by groups, in the second one. The weight of a transposed
convolution has them the other way round, and a linear layer behind a flattened
map has several features per channel in the second dimension. The functions
here therefore know a first and a second dimension.
"""

import torch
from torch import Tensor

from .torch_ops import wide


def balancing_factors(left: Tensor, right: Tensor, c: float = 1.0) -> Tensor:
    r"""Return the factors of equi-normalization for the channels of a map.

    Paper: `Equi-normalization of Neural Networks
    <https://arxiv.org/abs/1902.10416>`_.

    .. math::
        D_i = \sqrt{\frac{\|W_{k+1}[:, i]\|}{c \, \|W_k[i]\|}}

    The filters :math:`W_k[i]` times :math:`D_i`, and what reads channel i in
    the next layer divided by :math:`D_i`, have norms with the ratio c. A
    channel with a norm of 0 on one side keeps its weights, where the authors'
    code divides by 0.

    Args:
        left: The norm of each filter of the first layer.
        right: The norm of what reads each channel in the next layer.
        c: How much larger the norms of the next layer become.

    Shape:
        - left, right, output: :math:`(C)`.

    Example::

        >>> balancing_factors(torch.tensor([1.0]), torch.tensor([4.0]))
        tensor([2.])
    """
    factors = (right / (c * left)).sqrt()
    is_alive = (left > 0) & (right > 0) & factors.isfinite()
    return torch.where(is_alive, factors, torch.ones_like(factors))


def first_norms(weight: Tensor) -> Tensor:
    """Return the norm of each slice of the first dimension.

    Shape:
        - weight: :math:`(C, *)`.
        - Output: :math:`(C)`, in float32 at least.
    """
    rows = weight.detach().flatten(1)
    return torch.linalg.vector_norm(rows.to(wide(weight.dtype)), dim=1)


def second_norms(weight: Tensor, num_channels: int, groups: int) -> Tensor:
    r"""Return the norm of the weights of each second-dimension channel.

    Args:
        weight: A weight.
        num_channels: Number of channels C in all groups.
        groups: Number of groups G of a convolution, 1 for a linear layer.

    Shape:
        - weight: :math:`(C', C / G, *)`, or :math:`(C', C \cdot F)` of a
          linear layer with F features per channel.
        - Output: :math:`(C)`, in float32 at least.
    """
    # (G, C' / G, C / G, weights per channel)
    blocks = weight.detach().reshape(
        groups, len(weight) // groups, num_channels // groups, -1
    )
    blocks = blocks.to(wide(weight.dtype))
    return torch.linalg.vector_norm(blocks, dim=(1, 3)).flatten()


def over_first(factors: Tensor, tensor: Tensor) -> Tensor:
    """Return factors that broadcast over the first dimension of a tensor."""
    return factors.view(-1, *[1] * (tensor.dim() - 1)).to(tensor.dtype)


def over_second(factors: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return factors that broadcast over the second dimension of a weight.

    Args:
        factors: A factor per channel of all groups.
        weight: The weight, as in :func:`second_norms`.
        groups: Number of groups of a convolution, 1 for a linear layer.
    """
    blocks = factors.view(groups, 1, -1)
    rows = blocks.expand(-1, len(weight) // groups, -1).flatten(0, 1)
    rows = rows.repeat_interleave(weight.shape[1] // rows.shape[1], 1)
    return rows[(...,) + (None,) * (weight.dim() - 2)].to(weight.dtype)
