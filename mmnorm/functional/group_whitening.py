# Copyright (c) mmnorm contributors. All rights reserved.
"""Group whitening, which mixes the groups of channels of an image.

Paper: https://arxiv.org/abs/2009.13333. Whitening is no affine map of a
plane, and therefore it consists of torch's operators, in float32 at least.
"""

import math

import torch
from torch import Tensor

from .torch_ops import over, wide


def group_whitening(
    x: Tensor,
    num_groups: int,
    num_iterations: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Return the image with groups that are centered and uncorrelated.

    Args:
        x: Activations.
        num_groups: Number of groups of channels. A group is one variable,
            and its values are those of all its channels and pixels.
        num_iterations: Number of Newton's iterations.
        weight: One number per channel.
        bias: One number per channel.
        eps: Added to the variances of the groups.

    Raises:
        ValueError: If the input has fewer than two dimensions.
    """
    if x.dim() < 2:
        raise ValueError(
            f'expected an input of shape (N, C, *), got {tuple(x.shape)}'
        )
    num_values = math.prod(x.shape[1:]) // num_groups
    # Autocast would run the products of matrices in half precision. The
    # device meta has no autocast.
    device = 'cpu' if x.is_meta else x.device.type
    with torch.autocast(device, enabled=False):
        # (N, C, *) -> (N, G, C / G * pixels)
        z = x.to(wide(x.dtype)).reshape(x.shape[0], num_groups, num_values)
        z = z - z.mean(2, keepdim=True)
        covariance = z @ z.transpose(1, 2) / max(num_values, 1)
        z = inverse_root(covariance, num_iterations, eps) @ z
    z = z.reshape(x.shape)
    y = torch.addcmul(over(x, bias), z, over(x, weight))
    if x.is_contiguous():
        return y.to(x.dtype)
    return torch.empty_like(x).copy_(y)


def inverse_root(
    covariance: Tensor, num_iterations: int, eps: float
) -> Tensor:
    r"""Return :math:`(\Sigma + \epsilon I)^{-1/2}`, by Newton's iteration.

    Paper: https://arxiv.org/abs/1904.03441.

    .. math::
        P_0 = I, \qquad P_{k+1} = \frac{3}{2} P_k - \frac{1}{2} P_k^3 S,
        \qquad S = \frac{\Sigma + \epsilon I}{t}, \quad
        t = \text{tr}(\Sigma + \epsilon I)

    The result is :math:`P_K / \sqrt t`. A direction whose variance is a small
    part of the trace grows by 3/2 per iteration, so few iterations leave it
    small, and the gradient stays finite where the covariance has no full
    rank.

    The authors compute the formula as it stands. Its rounding errors grow
    with the condition of the covariance: from 15 iterations on, a nearly
    singular one gives NaN. The product :math:`Q_k = P_k S` iterated beside
    :math:`P_k` has the same values and keeps the errors small.

    Args:
        covariance: Symmetric matrices without negative eigenvalues.
        num_iterations: Number of iterations K.
        eps: Added to the diagonal.

    Shape:
        - covariance: :math:`(N, G, G)`.
        - Output: the same.
    """
    options = dict(dtype=covariance.dtype, device=covariance.device)
    identity = torch.eye(covariance.shape[1], **options)
    covariance = covariance + eps * identity
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    p, q = identity, covariance / trace
    for _ in range(num_iterations):
        step = 1.5 * identity - 0.5 * (p @ q)
        p, q = step @ p, q @ step
    return p * trace.rsqrt()
