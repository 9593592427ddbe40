# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure the time and the memory of calls."""

import ctypes
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Call = Callable[[], object]
T = TypeVar('T')
# The cycles take about 5 ms. Meanwhile the host queues a forward and a
# backward of any layer.
QUEUE_CYCLES = 10_000_000


# Numbers of mallopt in glibc.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
LARGE = 2**30


def keep_memory() -> None:
    """Let the C library keep freed memory, instead of returning it.

    A large tensor would come in fresh pages otherwise, and the system takes
    longer to map the pages than a norm to fill them, or not, depending on what
    was freed before. Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, LARGE)
        mallopt(TOP_PAD, LARGE)


def wait(device: str) -> None:
    """Wait until a GPU has done its work."""
    if device == 'cuda':
        torch.cuda.synchronize()


def seconds(call: Call, device: str) -> float:
    """Return the seconds that a call takes, with the work on the GPU."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def time_round(calls: Sequence[Call], device: str) -> list[float]:
    """Return the seconds of each call in a round, and those of launching.

    On a GPU the seconds of a call are those of its kernels. The last number
    is the time in which the host makes all calls; on a GPU this is the cost
    of launching the kernels. A network hides the cost as long as the queue
    holds other kernels, and here a waiting kernel hides it likewise.
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
    launching = marks[-1] - marks[0]
    wait(device)
    if cuda:
        done = [a.elapsed_time(b) / 1e3 for a, b in pairwise(events)]
    else:
        done = [b - a for a, b in pairwise(marks)]
    return [*done, launching]


def interleave(
    competitors: dict[str, T], measure: Callable[[T], object], repeats: int
) -> dict[str, list]:
    """Measure the competitors in turn, in a number of rounds.

    A busy moment of the machine meets all competitors this way. The numbers
    of the first round are dropped, because it warms up.
    """
    rounds = [
        {name: measure(one) for name, one in competitors.items()}
        for _ in range(repeats + 1)
    ]
    return {name: [r[name] for r in rounds[1:]] for name in competitors}


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile."""
    return np.quantile(values, (0.25, 0.5, 0.75)).tolist()


def step_of(layer: nn.Module, x: Tensor, dy: Tensor, amp: bool) -> list[Call]:
    """Return the forward and the backward of a layer as two calls."""
    wanted = [x, *layer.parameters()]
    held = []

    def forward() -> None:
        with torch.autocast(x.device.type, dtype=dy.dtype, enabled=amp):
            y = layer(x)
        # The next convolution would cast an output in float32.
        held.append(y.to(dy.dtype))

    def backward() -> None:
        torch.autograd.grad(held.pop(), wanted, dy)

    return [forward, backward]


def kept_bytes(layer: nn.Module, x: Tensor, amp: bool = False) -> int:
    """Return the bytes that a layer keeps for its backward only.

    The input and the output of the layer are not counted, because the layers
    around it keep them anyway.
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
    """Return the peak of the GPU's memory over some calls, in bytes."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for call in calls:
        call()
    return torch.cuda.max_memory_allocated() - before
