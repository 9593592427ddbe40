# Copyright (c) mmnorm contributors. All rights reserved.
"""Time what a step of a layer costs the host.

The rows have microseconds of CPU time and the launches of a training step.
torch's own layers run as operators on CPU, on the same small tensor, where
their time is that of torch's dispatch.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

import mmnorm

from .driver import launches, take_launches

CHANNELS, SIZE = 64, 16
STEPS, ROUNDS = 60, 15
Make = Callable[[int], nn.Module]
LAYERS: dict[str, Make] = {
    'nn.BatchNorm2d': nn.BatchNorm2d,
    'nn.GroupNorm': lambda c: nn.GroupNorm(32, c),
    'mmnorm.GN': mmnorm.GN,
    'mmnorm.BCN': mmnorm.BCN,
    'mmnorm.BCN, gradient of image': lambda c: mmnorm.BCN(
        c, estimate_grad='image'
    ),
    'mmnorm.BCN, constants': lambda c: mmnorm.BCN(c, estimate_grad=None),
    'mmnorm.BCN, step': lambda c: mmnorm.BCN(c, sync='step'),
    'mmnorm.BCN, batch': lambda c: mmnorm.BCN(c, estimate=False),
    'mmnorm.SN': mmnorm.SN,
    'mmnorm.SyncBN': mmnorm.SyncBN,
}
SHARED: dict[str, Make] = {
    'nn.BatchNorm2d': nn.BatchNorm2d,
    'mmnorm.BCN, two processes': mmnorm.BCN,
    'mmnorm.BCN, batch, two processes': LAYERS['mmnorm.BCN, batch'],
    'mmnorm.SN, two processes': mmnorm.SN,
    'mmnorm.SyncBN, two processes': mmnorm.SyncBN,
}
# Operators that start no kernel on a GPU.
FREE = (
    'alias',
    'as_strided',
    'detach',
    'empty',
    'empty_like',
    'expand',
    'new_empty',
    'select',
    'slice',
    'split',
    'split_with_sizes',
    'unbind',
    'view',
)


class _CountKernels(TorchDispatchMode):
    """A counter of the operators that start a kernel on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        self.kernels += func.overloadpacket.__name__ not in FREE
        return func(*args, **(kwargs or {}))


def _microseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(STEPS):
        call()
    return (time.process_time() - start) / STEPS * 1e6


def time_layers(makes: dict[str, Make]) -> list[dict]:
    """Return a row for each layer.

    Args:
        makes: Functions that make the layers, by name.
    """
    x = torch.randn(1, CHANNELS, SIZE, SIZE, requires_grad=True)
    dy = torch.randn_like(x)
    layers = {name: make(CHANNELS) for name, make in makes.items()}
    for layer in layers.values():
        if getattr(layer, 'sync', None) == 'step':
            layer.start_steps()

    def make_calls(layer: nn.Module) -> dict[str, Callable[[], object]]:
        inputs: list[Tensor] = [x, *layer.parameters()]

        def step() -> None:
            for leaf in inputs:
                leaf.grad = None
            layer(x).backward(dy)

        def evaluate() -> None:
            layer.eval()
            with torch.no_grad():
                layer(x)
            layer.train()

        return {'forward': lambda: layer(x), 'step': step, 'eval': evaluate}

    calls = {name: make_calls(layer) for name, layer in layers.items()}
    rows = {}
    for name, of_layer in calls.items():
        for call in of_layer.values():  # compile everything
            call()
        before = launches()
        with _CountKernels() as counter:
            of_layer['step']()
        rows[name] = {
            'layer': name,
            'launches': launches() - before,
            'torch kernels': counter.kernels,
        }
    # Each round times all layers, so that other work on the machine slows
    # them all down.
    times: list[dict] = []
    for _ in range(ROUNDS):
        times.append(
            {
                (name, what): _microseconds(call)
                for name, of_layer in calls.items()
                for what, call in of_layer.items()
            }
        )
    for name, row in rows.items():
        for what in ('forward', 'step', 'eval'):
            each = [times_[name, what] for times_ in times]
            row[f'{what} us'] = statistics.median(each)
        row['over nn.BatchNorm2d'] = statistics.median(
            each[name, 'step'] / each['nn.BatchNorm2d', 'step']
            for each in times
        )
    return list(rows.values())


if __name__ == '__main__':
    take_launches()
    rows = time_layers(LAYERS)
    # An all-reduce of this group does nothing, and its call takes the time
    # that torch's interface takes.
    dist.init_process_group('fake', FakeStore(), rank=0, world_size=2)
    rows += time_layers(SHARED)[1:]
    print(json.dumps(rows))
