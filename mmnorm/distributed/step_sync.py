# Copyright (c) mmnorm contributors. All rights reserved.
"""One all-reduce per update for the estimates of a whole network."""

import torch
from torch import nn

from .all_reduce import all_reduce


class StepSync:
    """A callable that moves the estimates of all layers with ``sync='step'``.

    Such a layer normalizes with its estimates as they are and keeps the sums
    of its batches. The callable is called once after each update of the
    optimizer. It adds the sums over the processes, in one all-reduce for all
    layers, and moves the estimates. An update therefore uses the estimates of
    the update before. Under mmengine, ``StepSyncHook`` calls it.

    The sums are those of all forwards since the last call. With gradient
    accumulation, N steps of one image therefore equal one step of N images,
    and ``momentum`` is the share of these N images.

    Args:
        network: A network with such layers.

    Example::

        >>> from mmnorm import BCN
        >>> network = nn.Sequential(nn.Conv2d(3, 32, 1), BCN(32, sync='step'))
        >>> synchronize = StepSync(network)
        >>> _ = network(torch.rand(1, 3, 4, 4))
        >>> synchronize()
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = [
            layer
            for layer in network.modules()
            if getattr(layer, 'sync', None) == 'step'
        ]
        for layer in self.layers:
            layer.start_steps()

    @torch.no_grad()
    def __call__(self) -> None:
        """Move the estimates, once after each update of the optimizer."""
        by_size: dict[int | None, list[nn.Module]] = {}
        for layer in self.layers:
            by_size.setdefault(layer.group_size, []).append(layer)
        for group_size, layers in by_size.items():
            sums = [layer.step_sums for layer in layers]
            totals = all_reduce(torch.cat(sums), group_size)
            sizes = [len(one) for one in sums]
            for layer, total in zip(layers, totals.split(sizes), strict=True):
                layer.end_step(total)
