# Copyright (c) mmnorm contributors. All rights reserved.
"""Measures of what a layer does to signals and gradients.

The formulas are those of the authors' code, at commit 23102a4 of
https://github.com/EkdeepSLubana/BeyondBatchNorm, unless a function says
otherwise. All numbers are computed in float64.
"""

import torch
from torch import Tensor

from mmnorm.analysis.norm_stats import RARE


def variance(a: Tensor) -> float:
    r"""Return the mean over channels of the unbiased variance.

    .. math::
        \frac{1}{C} \sum_c \text{Var}_{n,h,w}(a_{nchw})

    Args:
        a: Activations, (N, C, H, W).

    Example::

        >>> variance(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
        2.0
    """
    return _per_channel(a).var(1).mean().item()


def deviation(x: Tensor) -> float:
    """Return the mean over channels of the unbiased standard deviation.

    Args:
        x: Outputs of a convolution, (N, C, H, W).
    """
    return _per_channel(x).std(1).mean().item()


def similarity(a: Tensor) -> float:
    r"""Return the mean cosine of the angles between different images.

    .. math::
        \frac{1}{N (N - 1)} \sum_{n \ne m}
        \frac{\langle a_n, a_m \rangle}{\|a_n\| \|a_m\|}

    Independent values of mean 0 have a similarity of 0, and of
    :math:`1/\pi` behind a ReLU if they are normal.

    Args:
        a: Activations, (N, C, H, W).

    Example::

        >>> round(similarity(torch.tensor([[1.0, 0], [1, 1]])), 4)
        0.7071
    """
    kernel, num_images = _cosines(a), len(a)
    mean = (kernel.sum() - kernel.trace()) / (num_images * (num_images - 1))
    return mean.item()


def stable_rank(a: Tensor) -> float:
    r"""Return the stable rank of the directions of the images.

    .. math::
        \text{tr}(K) / \|K\|_2, \qquad
        K_{nm} = \frac{\langle a_n, a_m \rangle}{\|a_n\| \|a_m\|}

    The rank is N if the images are orthogonal, and 1 if they are parallel.
    It is not a number where an image has no direction.

    Args:
        a: Activations, (N, C, H, W).

    Example::

        >>> stable_rank(torch.eye(3))
        3.0
    """
    kernel = _cosines(a)
    if not kernel.isfinite().all():
        return float('nan')
    return (kernel.trace() / torch.linalg.eigvalsh(kernel)[-1]).item()


def gradient_norm(gradient: Tensor) -> float:
    r"""Return the root mean square over images of the norm of a gradient.

    .. math::
        \sqrt{N} \left\| \frac{\partial L}{\partial x} \right\|_F

    with :math:`L` the mean over N images of their losses :math:`L_n`. Where
    no layer mixes images, this is
    :math:`\sqrt{\frac{1}{N} \sum_n \| \partial L_n / \partial x_n \|^2}`,
    which does not depend on the size of the batch. The authors' code leaves
    the factor :math:`\sqrt N` out.

    Args:
        gradient: The gradient of the mean loss, (N, ...).

    Example::

        >>> gradient_norm(torch.tensor([[3.0], [4.0]]) / 2)
        3.5355339059327378
    """
    return (gradient.double().norm() * len(gradient) ** 0.5).item()


def dead_share(a: Tensor) -> float:
    """Return the share of channels that are hardly ever positive.

    The authors' code has no such measure. The share is not a number where an
    activation is not finite.

    Args:
        a: Activations, (N, C, H, W).
    """
    channels = _per_channel(a)
    if not channels.isfinite().all():
        return float('nan')
    positive = (channels > 0).double().mean(1)
    return (positive < RARE).double().mean().item()


ACTIVATION_MEASURES = {
    'activation variance': variance,
    'similarity': similarity,
    'stable rank': stable_rank,
    'dead channels': dead_share,
}
CONV_MEASURES = {'deviation': deviation}
GRADIENT_MEASURES = {'gradient norm': gradient_norm}


def _per_channel(x: Tensor) -> Tensor:
    return x.detach().double().transpose(0, 1).flatten(1)  # (C, N*H*W)


def _cosines(a: Tensor) -> Tensor:
    rows = a.detach().double().flatten(1)  # (N, C*H*W)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return rows @ rows.T
