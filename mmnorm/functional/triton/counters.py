# Copyright (c) mmnorm contributors. All rights reserved.
"""Counters of arrived programs, which are 0 between any two launches."""

import torch
from torch import Tensor
from triton.runtime import driver

SIZE = 2**14
_of_stream: dict[tuple[int, int], Tensor] = {}


def counters(x: Tensor, size: int) -> Tensor:
    """Return zeros that the next launch may count in, and has to reset.

    Launches on one stream run one after another and share their counters. A
    captured graph may run beside others, so it gets counters of its own.

    Args:
        x: A tensor on the device of the launch.
        size: Number of counters.
    """
    device = x.get_device()
    key = device, 0
    if device >= 0:  # a GPU
        if torch.cuda.is_current_stream_capturing():
            return x.new_zeros(size, dtype=torch.int32)
        key = device, driver.active.get_current_stream(device)
    zeros = _of_stream.get(key)
    if zeros is None or zeros.numel() < size:
        with torch.inference_mode(False):
            zeros = x.new_zeros(max(size, SIZE), dtype=torch.int32)
        _of_stream[key] = zeros
    return zeros
