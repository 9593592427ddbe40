# Copyright (c) mmnorm contributors. All rights reserved.
"""What benchmarks/norms.py measures with: time and memory of calls."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Call = Callable[[], object]
T = TypeVar('T')
# About 5 ms, in which a forward and a backward of any layer can be queued.
QUEUE_CYCLES = 10_000_000


def wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def seconds(call: Call, device: str) -> float:
    """Seconds until a call is done, as one would wait for it."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def laps(calls: Sequence[Call], device: str) -> list[float]:
    """Seconds of each of some calls in a row; on a GPU, of its own work.

    Last comes the time in which they were asked for. On a GPU that is the
    cost of launching their kernels, which a network hides as long as other
    kernels are queued before them; so here they too queue behind another.
    """
    cuda = device == 'cuda'
    wait(device)
    if cuda:
        torch.cuda._sleep(QUEUE_CYCLES)
        events = [torch.cuda.Event(enable_timing=True) for _ in (0, *calls)]
        events[0].record()
    marks = [time.perf_counter()]
    for number, call in enumerate(calls, 1):
        call()
        marks.append(time.perf_counter())
        if cuda:
            events[number].record()
    asked = marks[-1] - marks[0]
    wait(device)
    if cuda:
        done = [a.elapsed_time(b) / 1e3 for a, b in pairwise(events)]
    else:
        done = [b - a for a, b in pairwise(marks)]
    return [*done, asked]


def interleave(
    competitors: dict[str, T], measure: Callable[[T], object], repeats: int
) -> dict[str, list]:
    """What each measures in each round, after a round that is not kept.

    A busy moment of the machine so meets all of them.
    """
    rounds = [
        {name: measure(one) for name, one in competitors.items()}
        for _ in range(repeats + 1)
    ]
    return {name: [r[name] for r in rounds[1:]] for name in competitors}


def quartiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, (0.25, 0.5, 0.75)).tolist()


def step_of(layer: nn.Module, x: Tensor, dy: Tensor, amp: bool) -> list[Call]:
    """Forward and backward of a layer, as calls that follow each other."""
    wanted = [x, *layer.parameters()]
    held = []

    def forward() -> None:
        with torch.autocast(x.device.type, dtype=dy.dtype, enabled=amp):
            y = layer(x)
        # What autocast leaves in float32 the next convolution would cast.
        held.append(y.to(dy.dtype))

    def backward() -> None:
        torch.autograd.grad(held.pop(), wanted, dy)

    return [forward, backward]


def kept_bytes(layer: nn.Module, x: Tensor, amp: bool = False) -> int:
    """Memory that a layer keeps for its backward alone.

    Its input and its output are not counted: the layers around it keep them
    too, or would.
    """
    kept = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast(x.device.type, dtype=x.dtype, enabled=amp),
    ):
        y = layer(x)
    for t in (x, y, *layer.parameters(), *layer.buffers()):
        kept.pop(t.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def peak_bytes(calls: Sequence[Call]) -> int:
    """Most memory of the GPU that some calls in a row take at a time."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for call in calls:
        call()
    return torch.cuda.max_memory_allocated() - before
