# Copyright (c) mmnorm contributors. All rights reserved.
"""Where Triton kernels run in a test.

On a GPU where there is one. Elsewhere by Triton's interpreter, which has to
be chosen before the kernels are imported: ``test_interpreted.py`` runs the
tests once more, in a process of its own.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
import triton
from hypothesis import settings

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
HAS_GPU = torch.cuda.is_available() and not INTERPRETED
runs = pytest.mark.skipif(
    not HAS_GPU and not INTERPRETED,
    reason='no GPU; test_interpreted.py runs it on CPU',
)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason='no GPU')
# The same on every machine, and however slow the interpreter.
examples = settings(
    max_examples=40, derandomize=True, deadline=None, database=None
)
compiles = pytest.mark.skipif(INTERPRETED, reason='the interpreter does not')


def ptx_of(
    kernel: triton.JITFunction,
    constants: dict[str, object],
    types: dict[str, str],
    aligned: tuple[str, ...] = (),
    num_warps: int = 4,
    capability: int = 90,
) -> str:
    """Compile a kernel, without a GPU.

    Args:
        kernel: The kernel.
        constants: Its compile-time arguments, and others.
        types: Of arguments that are neither float32 pointers nor integers.
        aligned: Pointers to multiples of 16 bytes.
        num_warps: Warps per program.
        capability: Generation of the GPU, 90 for Hopper.
    """
    signature, values, attributes = {}, {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = 'constexpr'
            values[(i,)] = constants[argument]
        else:
            usual = '*fp32' if argument.endswith('_ptr') else 'i32'
            signature[argument] = types.get(argument, usual)
        if argument in aligned:
            attributes[(i,)] = [['tt.divisibility', 16]]
    source = triton.compiler.ASTSource(kernel, signature, values, attributes)
    target = triton.backends.compiler.GPUTarget('cuda', capability, 32)
    options = {'num_warps': num_warps}
    return triton.compile(source, target=target, options=options).asm['ptx']


def spilled_bytes(ptx: str, capability: int = 90) -> int:
    """Return what the assembler puts into memory for want of registers.

    Args:
        ptx: What :func:`ptx_of` returns.
        capability: Generation of the GPU, as there.
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
    return sum(map(int, re.findall(r'(\d+) bytes spill', done.stderr)))
