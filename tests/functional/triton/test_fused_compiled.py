# Copyright (c) mmnorm contributors. All rights reserved.
"""The fused kernels as a compiler without a GPU builds them for one."""

import pytest
import torch
from torch import nn

from mmnorm.functional.triton import (
    fused_backward_kernels,
    fused_forward_kernels,
    fused_plane_kernels,
    fused_switchable_kernels,
)
from mmnorm.functional.triton.plan import make_plan

from .devices import compile_to_ptx, count_spilled_bytes, needs_compiler

FORWARD = fused_forward_kernels.moments_and_coefficients
BACKWARD = fused_backward_kernels.sums_and_gradients
KERNELS = (
    FORWARD,
    BACKWARD,
    fused_plane_kernels.apply,
    fused_plane_kernels.apply_grad,
    fused_switchable_kernels.fused_switchable,
    fused_switchable_kernels.fused_switchable_grad,
)
ACTIVATION_POINTERS = ('x_ptr', 'dy_ptr', 'y_ptr', 'dx_ptr')
TYPES = (
    dict.fromkeys(ACTIVATION_POINTERS, '*fp16')
    | dict.fromkeys(('momentum', 'batch_eps', 'eps', 'share', 'slope'), 'fp32')
    | {
        'counters_ptr': '*i32',
        'num_batches_ptr': '*i64',
        'step_sums_ptr': '*fp64',
    }
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
    kernel, norm: tuple[int, ...], channels_last: bool, **constants: object
) -> str:
    """Compile a kernel as the plan of a norm of large planes has it."""
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
        kernel, constants, TYPES, ACTIVATION_POINTERS, plan.num_warps
    )


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('norm', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('kind', ['', 'step', 'estimated', 'unbiased'])
def test_forward_does_not_spill(kind, norm, channels_last):
    ptx = compile_kernel(FORWARD, norm, channels_last, KIND=kind)
    assert count_spilled_bytes(ptx) == 0
    assert 'ld.global.v4.b32' in ptx


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('norm', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('gradient', ['', 'image', 'batch', 'sums'])
def test_backward_does_not_spill(gradient, norm, channels_last):
    ptx = compile_kernel(BACKWARD, norm, channels_last, GRADIENT=gradient)
    assert count_spilled_bytes(ptx) == 0
    assert 'ld.global.v4.b32' in ptx


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('kernel', KERNELS[2:4], ids=lambda k: k.__name__)
def test_tiles_have_16_bytes_at_once(kernel, channels_last):
    ptx = compile_kernel(kernel, NORMS['one image'], channels_last)
    assert 'global.b16' not in ptx
    assert 'ld.global.v4.b32' in ptx
    assert count_spilled_bytes(ptx) == 0


@needs_compiler
@pytest.mark.parametrize('kernel', KERNELS[4:], ids=lambda k: k.__name__)
def test_mix_does_not_spill(kernel):
    for images, block in ((256, 8), (2, 1024), (1, 2048)):
        constants = {'HAS_BATCH': True, 'FUSED': 'batch'}
        constants |= {'IMAGES': images, 'BLOCK': block}
        ptx = compile_to_ptx(kernel, constants, TYPES, num_warps=8)
        assert count_spilled_bytes(ptx) == 0


@needs_compiler
@pytest.mark.parametrize(
    'kernel, constants',
    [(FORWARD, {'KIND': 'estimated'}), (BACKWARD, {'GRADIENT': 'batch'})],
    ids=['forward', 'backward'],
)
def test_programs_store_their_parts_before_they_count(kernel, constants):
    # One thread counts. Without a barrier before the count, the last program
    # might read what another thread has not stored; without a load past the
    # nearest cache, it might read old numbers.
    ptx = compile_kernel(kernel, NORMS['two images'], False, **constants)
    count = ptx.index('atom.global.gpu.acq_rel.add')
    before = ptx[:count]
    assert before.rindex('bar.sync') > before.rindex('st.global')
    assert '.cg' not in before
    assert 'ld.global.cg' in ptx[count:]


@needs_compiler
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_compiles_once_for_all_sizes(kernel):
    for parameter in kernel.params:
        if parameter.name.endswith('_ptr'):
            is_activation = parameter.name in ACTIVATION_POINTERS
            is_specialized = not parameter.do_not_specialize_on_alignment
            assert is_specialized == is_activation
        elif not parameter.is_constexpr and parameter.name not in TYPES:
            assert parameter.do_not_specialize
