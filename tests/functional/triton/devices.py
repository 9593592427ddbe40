# Copyright (c) mmnorm contributors. All rights reserved.
"""Devices on which the tests run and compile Triton kernels.

The kernels run on a GPU where there is one. Elsewhere they run on CPU, in
Triton's interpreter. The interpreter has to be chosen before the kernels are
imported, so ``test_interpreted.py`` starts the tests in a separate process.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
import triton
from hypothesis import settings
from mmengine.utils import digit_version

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
HAS_GPU = torch.cuda.is_available() and not INTERPRETED
needs_kernels = pytest.mark.skipif(
    not HAS_GPU and not INTERPRETED,
    reason='no GPU; test_interpreted.py runs this test on CPU',
)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason='no GPU')
# The examples are the same on every machine, and may take any time.
random_examples = settings(
    max_examples=40, derandomize=True, deadline=None, database=None
)
# Triton 3.3 changed the interface of its compiler.
can_compile = digit_version(triton.__version__) >= digit_version('3.3')
needs_compiler = pytest.mark.skipif(
    INTERPRETED or not can_compile,
    reason='needs the compiler of Triton 3.3 or later',
)


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


def count_spilled_bytes(ptx: str, capability: int = 90) -> int:
    """Count the bytes that do not fit into registers and go to memory.

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
    return sum(map(int, re.findall(r'(\d+) bytes spill', done.stderr)))
