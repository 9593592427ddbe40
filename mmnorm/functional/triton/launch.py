# Copyright (c) mmnorm contributors. All rights reserved.
"""Launches of Triton kernels, at a low price for the host.

Triton looks at every argument of every launch to find the kernel that it has
compiled for such arguments. This takes the host longer than the rest of a
launch. A kernel of this package depends on less: on compile-time arguments,
on dtypes, and on whether activations begin at multiples of 16 bytes.
"""

from collections.abc import Hashable
from typing import Any

import torch
import triton
from mmengine.utils import digit_version
from torch import Tensor

# Since this version, a compiled kernel takes all arguments of the kernel.
LAUNCHES_COMPILED = digit_version(triton.__version__) >= digit_version('3.6')
_compiled: dict[Hashable, Any] = {}


def launch(
    kernel: triton.JITFunction,
    num_programs: int,
    x: Tensor,
    activations: tuple[Tensor, ...],
    arguments: tuple[object, ...],
    constants: tuple[object, ...],
    types: Hashable = None,
    num_warps: int = 4,
) -> None:
    """Launch a kernel on the device of a tensor.

    Args:
        kernel: The kernel; it takes activations, arguments and constants.
        num_programs: Number of programs.
        x: A tensor on the device.
        activations: Tensors whose alignment the kernel is compiled for.
        arguments: Tensors, None in place of missing tensors, and numbers.
        constants: Compile-time arguments.
        types: Whatever decides on the types of activations and arguments,
            such as their dtypes, where it differs between launches.
        num_warps: Number of warps per program.
    """
    device = x.get_device()  # -1 is the CPU
    if device >= 0 and device != torch.cuda.current_device():
        with torch.cuda.device(device):
            return launch(
                kernel,
                num_programs,
                x,
                activations,
                arguments,
                constants,
                types,
                num_warps,
            )
    aligned = True
    for activation in activations:
        aligned = aligned and activation.data_ptr() % 16 == 0
    key = kernel, device, constants, types, num_warps
    compiled = _compiled.get(key) if aligned else None
    if compiled is None:
        compiled = kernel[(num_programs,)](
            *activations, *arguments, *constants, num_warps=num_warps
        )
        # Triton's interpreter compiles nothing.
        if aligned and compiled is not None and LAUNCHES_COMPILED:
            _compiled[key] = compiled
    else:
        compiled[num_programs, 1, 1](*activations, *arguments, *constants)
    return None
