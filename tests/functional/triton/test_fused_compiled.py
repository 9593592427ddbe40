# Copyright (c) mmnorm contributors. All rights reserved.
"""The fused kernels as a compiler without a GPU builds them for one."""

import pytest

from benchmarks.compiled import (
    ACTIVATION_POINTERS,
    BACKWARD,
    FORWARD,
    KERNELS,
    NORMS,
    TYPES,
    compile_kernel,
)
from benchmarks.compiler import compile_to_ptx, read_resources
from mmnorm.functional.triton.launch_switchable import GRAD_WARPS

from .devices import needs_compiler


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('norm', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('kind', ['', 'step', 'estimated', 'unbiased', 'sums'])
def test_forward_does_not_spill(kind, norm, channels_last):
    ptx = compile_kernel(FORWARD, norm, channels_last, KIND=kind)
    assert read_resources(ptx).spilled == 0
    assert 'ld.global.v4.b32' in ptx


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('norm', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('gradient', ['', 'image', 'batch', 'total', 'sums'])
def test_backward_does_not_spill(gradient, norm, channels_last):
    ptx = compile_kernel(BACKWARD, norm, channels_last, GRADIENT=gradient)
    assert read_resources(ptx).spilled == 0
    assert 'ld.global.v4.b32' in ptx


@needs_compiler
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('kernel', KERNELS[2:4], ids=lambda k: k.__name__)
def test_tiles_have_16_bytes_at_once(kernel, channels_last):
    ptx = compile_kernel(kernel, NORMS['one image'], channels_last)
    assert 'global.b16' not in ptx
    assert 'ld.global.v4.b32' in ptx
    assert read_resources(ptx).spilled == 0


@needs_compiler
@pytest.mark.parametrize(
    'kernel, num_warps',
    [(KERNELS[4], 4), (KERNELS[5], GRAD_WARPS)],
    ids=['forward', 'backward'],
)
@pytest.mark.parametrize('fused', ['batch', 'total', 'affine'])
@pytest.mark.parametrize('images, block', [(256, 8), (2, 1024), (1, 2048)])
def test_mix_does_not_spill(images, block, fused, kernel, num_warps):
    constants = {'HAS_BATCH': True, 'FUSED': fused}
    constants |= {'IMAGES': images, 'BLOCK': block}
    ptx = compile_to_ptx(kernel, constants, TYPES, num_warps=num_warps)
    assert read_resources(ptx).spilled == 0


@needs_compiler
@pytest.mark.parametrize('norm', NORMS.values(), ids=NORMS)
@pytest.mark.parametrize('kernel', KERNELS[6:], ids=lambda k: k.__name__)
def test_kernels_behind_an_all_reduce_do_not_spill(kernel, norm):
    for kind in ('estimated', 'unbiased'):
        ptx = compile_kernel(kernel, norm, False, KIND=kind)
        assert read_resources(ptx).spilled == 0


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


@needs_compiler
@pytest.mark.parametrize('kind', ['', 'step', 'estimated', 'unbiased', 'sums'])
def test_planes_of_many_pixels(monkeypatch, kind):
    # The interpreter does not type loops, the compiler does.
    monkeypatch.setitem(TYPES, 'num_pixels', 'i64')
    assert compile_kernel(FORWARD, NORMS['two images'], False, KIND=kind)
