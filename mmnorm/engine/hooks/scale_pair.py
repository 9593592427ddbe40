# Copyright (c) mmnorm contributors. All rights reserved.
"""Scale the channels between two layers."""

import torch
from torch import Tensor, nn

from mmnorm.functional.enorm import (
    balancing_factors,
    first_norms,
    over_first,
    over_second,
    second_norms,
)

from .homogeneous_pairs import TRANSPOSED, Pair, num_outputs

Scaled = list[tuple[nn.Parameter, Tensor]]


def scale(model: nn.Module, pair: Pair, factors: Tensor) -> Scaled:
    """Scale the channels between two layers, in place.

    Args:
        model: The model.
        pair: The layers.
        factors: A positive number per output channel of the first layer.

    Returns:
        Each parameter with the factors that multiplied it.
    """
    first = model.get_submodule(pair.first)
    if isinstance(first, TRANSPOSED):
        over = over_second(factors, first.weight, first.groups)
    else:
        over = over_first(factors, first.weight)
    scaled = [(first.weight, over)]
    if first.bias is not None:
        scaled.append((first.bias, over_first(factors, first.bias)))
    for name in pair.second:
        layer = model.get_submodule(name)
        if isinstance(layer, TRANSPOSED):
            over = over_first(1 / factors, layer.weight)
        else:
            over = over_second(1 / factors, layer.weight, _groups(layer))
        scaled.append((layer.weight, over))
    with torch.no_grad():
        for parameter, over in scaled:
            parameter.mul_(over)
    return scaled


def balance(model: nn.Module, pair: Pair, c: float) -> Scaled:
    """Scale by the factors of equi-normalization.

    Several second layers count as one layer with all their weights.

    Args:
        model: The model.
        pair: The layers.
        c: How much larger the norms of the second layers become.

    Returns:
        Each parameter with the factors that multiplied it.
    """
    first = model.get_submodule(pair.first)
    left = _output_norms(first)
    right = torch.zeros_like(left)
    for name in pair.second:
        norms = _input_norms(model.get_submodule(name), num_outputs(first))
        right = torch.hypot(right, norms)
    return scale(model, pair, balancing_factors(left, right, c))


def _output_norms(layer: nn.Module) -> Tensor:
    if isinstance(layer, TRANSPOSED):
        return second_norms(layer.weight, layer.out_channels, layer.groups)
    return first_norms(layer.weight)


def _input_norms(layer: nn.Module, num_channels: int) -> Tensor:
    if isinstance(layer, TRANSPOSED):
        return first_norms(layer.weight)
    return second_norms(layer.weight, num_channels, _groups(layer))


def _groups(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups
