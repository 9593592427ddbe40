# Copyright (c) mmnorm contributors. All rights reserved.
r"""Conversion between two forms of weight standardization.

:class:`mmnorm.ConvWS` by default divides a filter of standard deviation s by
:math:`s + \epsilon`. The BCN authors' files for ImageNet were trained with
:math:`\sqrt{s^2 + \epsilon}`. Each output channel of ``ConvWS`` is therefore
the authors' output channel times

.. math::
    k = \frac{\sqrt{s^2 + \epsilon}}{s + \epsilon}.

The batch part of the norm that follows undoes this factor exactly, if its
running statistics are those of the channel times k. The filters stay as they
are. Scaling the filters instead is possible, by :math:`s + \sqrt{s^2 +
\epsilon}`, but they would shrink about tenfold. Only the direction of a
standardized filter counts, so training would turn a filter a hundred times as
fast at the same learning rate. With ``eps_inside_root=True`` the layer takes
the authors' files as they are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

EPS = 1e-5
"""The epsilon of all norms and all filters, here and in the files."""
TRAINED_MEAN = 1.1
"""Median size of filters' means, in standard errors, that shows training."""


def output_ratio(weight: Tensor) -> Tensor:
    """Return the k of each filter, in float64.

    Shape:
        - weight: :math:`(C_{out}, C_{in}, *)`.
        - Output: :math:`(C_{out})`.
    """
    std = unbiased_std(weight)
    return (std.square() + EPS).sqrt() / (std + EPS)


def unbiased_std(weight: Tensor) -> Tensor:
    """Return the standard deviation of each filter, in float64."""
    return weight.double().flatten(1).std(1)


def rescale_statistics(
    state: dict[str, Tensor], norm: str, ratio: Tensor
) -> dict[str, Tensor]:
    """Return running statistics that undo a factor on the input of a norm.

    Args:
        state: A state dict with the running statistics.
        norm: The prefix of their keys.
        ratio: The factor of each input channel.

    Raises:
        ValueError: If a key is missing. The message is the predicate of a
            sentence about the file.
    """
    keys = f'{norm}.running_mean', f'{norm}.running_var'
    for key in keys:
        if key not in state:
            raise ValueError(f'has no {key}: it is incomplete')
    old_mean, old_var = (state[key] for key in keys)
    mean = old_mean.double() * ratio
    # The output depends on var + eps, and this sum is what scales.
    var = (old_var.double() + EPS) * ratio.square() - EPS
    new = mean.to(old_mean), var.clamp(min=0).to(old_var)
    return dict(zip(keys, new, strict=True))


def looks_standardized(weights: Iterable[Tensor]) -> bool:
    """Return whether filters look trained with weight standardization.

    Weight standardization gives the mean of a filter no gradient. Under SGD
    the means stay those of random filters, or decay: their median size is at
    most 0.67 standard errors, and somewhat more under Adam. Without weight
    standardization the means are trained, and grow. The result is no proof:
    filters that were trained for few steps look standardized.

    Args:
        weights: Weights of convolutions. Filters with fewer than 16 numbers
            are ignored.
    """
    medians = []
    for weight in weights:
        filters = weight.double().flatten(1)
        if filters.shape[1] < 16:
            continue
        error = filters.std(1) / filters.shape[1] ** 0.5
        alive = error > 0
        if alive.any():
            medians.append((filters.mean(1).abs() / error)[alive].median())
    return not medians or torch.stack(medians).median() < TRAINED_MEAN
