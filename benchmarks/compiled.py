# Copyright (c) mmnorm contributors. All rights reserved.
"""Compile the fused kernels for several GPUs, and print what they need.

No GPU is needed. The table goes to benchmarks/results/compiled.md.
"""

import argparse
import os
import tempfile
from itertools import product
from pathlib import Path

import torch
import triton
from torch import nn
from tqdm import tqdm

from mmnorm.functional.triton import (
    fused_backward_kernels,
    fused_forward_kernels,
    fused_plane_kernels,
    fused_switchable_kernels,
    fused_total_kernels,
)
from mmnorm.functional.triton.plan import make_plan

from .compiler import compile_to_ptx, read_resources

PAGE = Path(__file__).with_name('results') / 'compiled.md'
CAPABILITIES = (75, 80, 86, 90)
FORWARD = fused_forward_kernels.moments_and_coefficients
BACKWARD = fused_backward_kernels.sums_and_gradients
KERNELS = (
    FORWARD,
    BACKWARD,
    fused_plane_kernels.apply,
    fused_plane_kernels.apply_grad,
    fused_switchable_kernels.fused_switchable,
    fused_switchable_kernels.fused_switchable_grad,
    fused_total_kernels.coefficients_of_total,
    fused_total_kernels.add_gradient_of_total,
)
ACTIVATION_POINTERS = ('x_ptr', 'dy_ptr', 'y_ptr', 'dx_ptr')
TYPES = (
    dict.fromkeys(ACTIVATION_POINTERS, '*fp16')
    | dict.fromkeys(('momentum', 'base_batch_size'), 'fp32')
    | dict.fromkeys(('batch_eps', 'eps', 'share', 'slope'), 'fp32')
    | dict.fromkeys(('batch_sums_ptr', 'grad_batch_sums_ptr'), '*fp64')
    | {'counters_ptr': '*i32', 'num_batches_ptr': '*i64'}
)
# Images, channels and groups of a norm. The groups of a team fill one block of
# rows, less than one, or several.
NORMS = {
    'one image': (1, 256, 32),
    'two images': (2, 256, 32),
    'many images': (300, 256, 32),
    'groups of twenty': (2, 640, 32),
    'one large group': (1, 1024, 1),
}


def compile_kernel(
    kernel: triton.JITFunction,
    norm: tuple[int, int, int],
    channels_last: bool,
    capability: int = 90,
    **constants: object,
) -> str:
    """Compile a kernel as the plan of a norm of large planes has it.

    Args:
        kernel: A fused kernel.
        norm: Images, channels and groups.
        channels_last: Whether that is the memory format.
        capability: Compute capability of the GPU.
        **constants: Compile-time arguments of this kernel.
    """
    n, c, groups = norm
    x = torch.empty(n, c, 200, 336, device='meta', dtype=torch.half)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    plan = make_plan(x, groups, nn.SiLU(), ())
    names = ('HAS_GROUPS', 'CHANNELS_LAST', 'ALIGNED', 'ROWS', 'PIXELS')
    names += 'IMAGES', 'CHUNKS', 'GROUPS', 'BLOCK'
    constants |= dict(zip(names, (*plan.reads, *plan.team), strict=True))
    constants |= {
        'HAS_BATCH': True,
        'WEIGHT_PER_GROUP': True,
        'CUMULATIVE': True,
        'ACTIVATION': 'silu',
    }
    return compile_to_ptx(
        kernel,
        constants,
        TYPES,
        ACTIVATION_POINTERS,
        plan.num_warps,
        capability,
    )


# The name of each kernel of the table, and its compile-time arguments.
VARIANTS = {
    'GN, moments': (FORWARD, {'KIND': ''}),
    'BCN, moments and estimates': (FORWARD, {'KIND': 'estimated'}),
    "BCN, moments, sync='step'": (FORWARD, {'KIND': 'step'}),
    'BCN batch, moments': (FORWARD, {'KIND': 'unbiased'}),
    'moments for other processes': (FORWARD, {'KIND': 'sums'}),
    'BCN, coefficients of all': (
        fused_total_kernels.coefficients_of_total,
        {'KIND': 'estimated'},
    ),
    'affine map': (fused_plane_kernels.apply, {}),
    'GN and BCN, sums': (BACKWARD, {'GRADIENT': ''}),
    'BCN, sums, gradient of the image': (BACKWARD, {'GRADIENT': 'image'}),
    'BCN, sums, gradient of the batch': (BACKWARD, {'GRADIENT': 'batch'}),
    'BCN, sums, gradient of all': (BACKWARD, {'GRADIENT': 'total'}),
    'gradient of other processes': (
        fused_total_kernels.add_gradient_of_total,
        {},
    ),
    'input gradient': (fused_plane_kernels.apply_grad, {}),
}


def rows(norm: str, channels_last: bool) -> list[str]:
    """Return a row of the table for each kernel.

    Args:
        norm: A key of NORMS.
        channels_last: Whether that is the memory format.
    """
    found = []
    for name, (kernel, constants) in VARIANTS.items():
        cells = [name, norm, 'channels_last' if channels_last else '']
        for capability in CAPABILITIES:
            ptx = compile_kernel(
                kernel, NORMS[norm], channels_last, capability, **constants
            )
            registers, spilled = read_resources(ptx, capability)
            cells.append(f'{registers} / {spilled}')
        found.append(f'| {" | ".join(cells)} |')
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.compiled', description=__doc__
    )
    parser.parse_args()
    titles = ['kernel', 'images and groups', 'format']
    titles += [f'sm_{capability}' for capability in CAPABILITIES]
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    with tempfile.TemporaryDirectory() as folder:
        os.environ['TRITON_CACHE_DIR'] = folder
        for norm, channels_last in tqdm(list(product(NORMS, (False, True)))):
            lines += rows(norm, channels_last)
    PAGE.write_text(
        '# Resources of the fused kernels\n\n'
        f'Triton {triton.__version__} compiled these kernels for half '
        'precision with SiLU and planes of 200 x 336. Each cell holds the '
        'registers per thread, and the bytes per thread that do not fit into '
        'them and are stored or loaded.\n\n' + '\n'.join(lines) + '\n'
    )
    print(PAGE.read_text())


if __name__ == '__main__':
    main()
