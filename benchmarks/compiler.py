# Copyright (c) mmnorm contributors. All rights reserved.
"""Compile Triton kernels where there is no GPU, and read the result."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import triton


class Resources(NamedTuple):
    """The needs of a compiled kernel.

    Attributes:
        registers: Registers per thread.
        spilled: Bytes per thread that are stored and loaded instead.
    """

    registers: int
    spilled: int


def compile_to_ptx(
    kernel: triton.JITFunction,
    constants: dict[str, object],
    types: dict[str, str],
    aligned: tuple[str, ...] = (),
    num_warps: int = 4,
    capability: int = 90,
) -> str:
    """Compile a kernel for a GPU, also where there is no GPU.

    Args:
        kernel: The kernel.
        constants: Values of the compile-time arguments; other names are
            ignored.
        types: Types of the arguments that are neither pointers to float32
            nor integers.
        aligned: Names of the pointers to multiples of 16 bytes.
        num_warps: Number of warps per program.
        capability: Compute capability of the GPU; Hopper has 90.
    """
    signature, values, attributes = {}, {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = 'constexpr'
            values[(i,)] = constants[argument]
        else:
            default = '*fp32' if argument.endswith('_ptr') else 'i32'
            signature[argument] = types.get(argument, default)
        if argument in aligned:
            attributes[(i,)] = [['tt.divisibility', 16]]
    source = triton.compiler.ASTSource(kernel, signature, values, attributes)
    target = triton.backends.compiler.GPUTarget('cuda', capability, 32)
    options = {'num_warps': num_warps}
    return triton.compile(source, target=target, options=options).asm['ptx']


def read_resources(ptx: str, capability: int = 90) -> Resources:
    """Assemble a kernel, and return what it needs.

    Args:
        ptx: The result of :func:`compile_to_ptx`.
        capability: Compute capability of the GPU, as there.
    """
    assembler = Path(triton.__file__).parent / 'backends/nvidia/bin/ptxas'
    suffix = 'a' if capability == 90 else ''
    done = subprocess.run(
        [assembler, '-v', f'-arch=sm_{capability}{suffix}', '-o', '/dev/null']
        + ['/dev/stdin'],
        input=ptx,
        capture_output=True,
        text=True,
        check=True,
    )
    return Resources(
        max(map(int, re.findall(r'Used (\d+) registers', done.stderr))),
        sum(map(int, re.findall(r'(\d+) bytes spill', done.stderr))),
    )
