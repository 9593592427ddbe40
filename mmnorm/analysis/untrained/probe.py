# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure each layer of an untrained network in one step."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmnorm.config.second_activations import ACTIVATIONS
from mmnorm.layers import EvoNormB0, EvoNormS0

from .measures import (
    ACTIVATION_MEASURES,
    CONV_MEASURES,
    GRADIENT_MEASURES,
)

NUM_CLASSES = 100
# Shortcuts are parallel to layers, and no step in depth.
SHORTCUTS = ('shortcut', 'downsample')


class Measured(NamedTuple):
    """One measured number of one layer.

    Attributes:
        layer: The place of the layer among those of its kind, convolutions
            or activations, from 1 in the order of calls. 0 is the input.
        name: Its name in the network; ``#2`` marks a second call.
        channels: Number of channels of its output.
        measure: Name of the measure.
        value: The number.
    """

    layer: int
    name: str
    channels: int
    measure: str
    value: float


def measure(network: nn.Module, x: Tensor, labels: Tensor) -> list[Measured]:
    """Return the measures of each layer, from one forward and backward.

    A random linear classifier over the mean of the pixels of the last output
    gives the loss, the mean cross-entropy. Convolutions are measured right
    behind them, and activations behind the sum of a residual block, where
    there is one. The convolution of a shortcut is not measured; the authors
    measure it, too.

    Args:
        network: A network in training mode that returns a map, (N, C, H, W),
            or several of them.
        x: Images, (N, 3, H, W).
        labels: Classes from 0 to 99, (N,).

    Raises:
        ValueError: If the network has no activations that are modules.

    Example::

        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> rows = measure(net, torch.rand(4, 3, 8, 8), torch.arange(4))
        >>> [row.measure for row in rows if row.name == '0']
        ['deviation', 'gradient norm']
    """
    rows: list[Measured] = []
    places: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def add(where: tuple[int, str, int], value: Tensor, measures: dict):
        for name, function in measures.items():
            rows.append(Measured(*where, name, function(value)))

    def hook(name: str, kind: str, measures: dict) -> Callable:
        def record(module: nn.Module, _: tuple, output: Tensor) -> None:
            if output.dim() != 4:  # tokens
                return
            places[kind] += 1
            calls[name] += 1
            call = f'#{calls[name]}' if calls[name] > 1 else ''
            where = places[kind], name + call, output.shape[1]
            add(where, output, measures)
            if kind == 'conv' and output.requires_grad:
                output.register_hook(
                    lambda gradient: add(where, gradient, GRADIENT_MEASURES)
                )

        return record

    activations = activations_of(network)
    handles = [
        module.register_forward_hook(hook(name, 'conv', CONV_MEASURES))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and not any(part in name.split('.') for part in SHORTCUTS)
    ]
    handles += [
        module.register_forward_hook(
            hook(name, 'activation', ACTIVATION_MEASURES)
        )
        for name, module in activations.items()
    ]
    add((0, 'input', x.shape[1]), x, ACTIVATION_MEASURES)
    try:
        maps = network(x)
        last = maps if isinstance(maps, Tensor) else maps[-1]
        pooled = last.mean((2, 3))
        classifier = nn.Linear(pooled.shape[1], NUM_CLASSES).to(pooled.dtype)
        F.cross_entropy(classifier(pooled), labels).backward()
    finally:
        for handle in handles:
            handle.remove()
    # Gradients arrive from the last layer to the first.
    return sorted(rows, key=lambda row: (row.measure, row.layer))


def activations_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return the activations by name; they may be norms, if none follows one.

    Args:
        network: A network.

    Raises:
        ValueError: If there is none.
    """
    for kinds in (ACTIVATIONS, (EvoNormB0, EvoNormS0)):
        found = {
            name: module
            for name, module in network.named_modules()
            # mmcv, which has Swish, may be missing.
            if isinstance(module, kinds) or type(module).__name__ == 'Swish'
        }
        if found:
            return found
    raise ValueError(
        'the network has no activation that is a module: name a network with '
        'modules such as nn.ReLU'
    )


def fixed_labels(num_images: int, seed: int) -> Tensor:
    """Return random classes; an untrained network knows none anyway."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(NUM_CLASSES, (num_images,), generator=generator)
