# Copyright (c) mmnorm contributors. All rights reserved.
"""Weight standardization of others, with the epsilon in another place.

:class:`mmnorm.ConvWS` divides a filter of standard deviation s by
:math:`s + \\epsilon`, the BCN files for ImageNet were trained with
:math:`\\sqrt{s^2 + \\epsilon}`. So each output channel here is theirs times

.. math::
    k = \\frac{\\sqrt{s^2 + \\epsilon}}{s + \\epsilon},

and the batch part of the norm behind takes that back, exactly, if its running
statistics are those of the channel times k. The filters stay as they are. To
scale them instead is possible, by :math:`s + \\sqrt{s^2 + \\epsilon}`, but
they would shrink about tenfold; as only the direction of a standardized
filter counts, training would turn it a hundred times as fast at the same
learning rate.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

EPS = 1e-5
"""Of all the layers here and all the files: of norms and filters alike."""
TRAINED_MEAN = 1.1
"""Median size of filters' means, in standard errors, that shows training."""


def inside_over_outside(weight: Tensor) -> Tensor:
    """The k of each filter, in float64.

    Shape:
        - weight: :math:`(C_{out}, C_{in}, *)`.
        - Output: :math:`(C_{out})`.
    """
    std = unbiased_std(weight)
    return (std.square() + EPS).sqrt() / (std + EPS)


def unbiased_std(weight: Tensor) -> Tensor:
    """Of each filter, in float64."""
    return weight.double().flatten(1).std(1)


def scale_input(
    state: dict[str, Tensor], norm: str, factor: Tensor
) -> dict[str, Tensor]:
    """The running statistics with which a batch norm gives what it gave.

    Args:
        state: Where the running statistics are.
        norm: The prefix of their keys.
        factor: What each channel of the input is multiplied by.
    """
    mean = state[f'{norm}.running_mean'].double() * factor
    # The output depends on var + eps, and that is what scales.
    var = state[f'{norm}.running_var'].double()
    var = ((var + EPS) * factor.square() - EPS).clamp(min=0)
    return {
        f'{norm}.running_mean': mean.to(state[f'{norm}.running_mean'].dtype),
        f'{norm}.running_var': var.to(state[f'{norm}.running_var'].dtype),
    }


def looks_standardized(weights: Iterable[Tensor]) -> bool:
    """Whether filters look as if trained with weight standardization.

    It leaves their means without a gradient, so under SGD these stay those of
    random filters, or decay: their median size is 0.67 standard errors or
    less, under Adam somewhat more. Without it they are trained, and grow.
    That is no proof: a file that has seen few steps looks standardized.

    Args:
        weights: Of convolutions; those of few weights a filter are left out.
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
