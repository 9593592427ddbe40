# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics that an image under test has a share in."""

import math
from functools import partial
from types import MethodType

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm.functional import normalize
from mmnorm.functional.coefficients import batch_coefficients
from mmnorm.functional.statistics import mix_moments

from .running_norms import running_norms


def mix_image_statistics(model: nn.Module, share: float) -> int:
    r"""Let batch norms in evaluation mix running with image statistics.

    Papers: `Four Things Everyone Should Know to Improve Batch Normalization
    <https://arxiv.org/abs/1906.03548>`_ and `EvalNorm
    <https://arxiv.org/abs/1904.06031>`_.

    .. math::
        M = \alpha \mu_{nc} + (1 - \alpha) R_c, \qquad
        V = \alpha \sigma^2_{nc} + (1 - \alpha) S_c
        + \alpha (1 - \alpha) (\mu_{nc} - R_c)^2

    In training, an image was a part of the statistics that normalized it, and
    in evaluation it is not. :math:`\alpha` gives it a part again:
    :math:`R, S` are the running mean and variance, and :math:`\mu, \sigma^2`
    are those of the plane. A model that was trained with B images per process
    has :math:`\alpha = 1 / B` in mind; the papers choose it by the score on
    held-out images, since nothing is trained.

    EvalNorm learns its correction, and this function does not. A plane of one
    pixel has no variance, and keeps the running statistics.

    The norms are BatchNorm and SyncBatchNorm of torch and mmcv, BN, SyncBN
    and BRN. Training mode, parameters and state dict stay as they are.

    Args:
        model: The model; changed in place.
        share: Share :math:`\alpha` of the image, from 0 to 1.

    Returns:
        The number of norms that mix.

    Raises:
        ValueError: If the share is not from 0 to 1, or no norm can mix.

    Example::

        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
        >>> mix_image_statistics(net, 0.1)
        1
    """
    if not 0 <= share <= 1:
        raise ValueError(f'share is {share}: give a number from 0 to 1')
    norms = [
        stats
        for name, stats in running_norms(model)
        # The child of a BCN is never called.
        if isinstance(stats, _BatchNorm) and model.get_submodule(name) is stats
    ]
    if not norms:
        raise ValueError(
            'the model has no batch norm with running statistics: only these '
            'mix them with those of an image'
        )
    for norm in norms:
        norm.forward = MethodType(partial(_forward, share), norm)
    return len(norms)


def _forward(
    share: float, norm: nn.Module, x: Tensor, *activation: nn.Module
) -> Tensor:
    if norm.training or math.prod(x.shape[2:]) == 1:
        return type(norm).forward(norm, x, *activation)
    return normalize(x, partial(_coefficients, share, norm), *activation)


def _coefficients(
    share: float, norm: nn.Module, mean: Tensor, var: Tensor, num_pixels: int
) -> tuple[Tensor, Tensor]:
    running = norm.running_mean, norm.running_var
    running = tuple(statistic.to(mean.dtype) for statistic in running)
    mixed = mix_moments(running, (mean, var), share)
    weight = 1 if norm.weight is None else norm.weight
    bias = 0 if norm.bias is None else norm.bias
    return batch_coefficients(mean, *mixed, weight, bias, norm.eps)
