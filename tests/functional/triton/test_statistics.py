# Copyright (c) mmnorm contributors. All rights reserved.
"""The statistics of a batch in Triton against plain operators."""

import re

import pytest
import torch
from torch import Tensor

from benchmarks.compiler import compile_to_ptx
from mmnorm.functional.statistics import batch_sums, update_statistics
from mmnorm.functional.triton import launch_statistics
from mmnorm.functional.triton import statistics_kernels as kernels

from .devices import DEVICE, needs_compiler, needs_kernels

KERNELS = (
    kernels.batch_sums,
    kernels.batch_sums_grad,
    kernels.update_statistics,
    kernels.update_statistics_grad,
)
STATISTICS = ('biased', 'unbiased', 'estimated')


def assert_close(
    actual: Tensor, expected: Tensor, tolerance: float = 1e-5
) -> None:
    torch.testing.assert_close(
        actual.double().cpu(),
        expected.double(),
        rtol=tolerance,
        atol=tolerance,
        equal_nan=True,
    )


@needs_kernels
@pytest.mark.parametrize('n, c', [(1, 1), (2, 6), (0, 6), (70, 130)])
def test_batch_sums(n, c):
    planes = torch.randn(2, n, c)
    grad = torch.randn(2 * c + 2, dtype=torch.float64)
    results = []
    for device, function in (
        ('cpu', batch_sums.__wrapped__),
        (DEVICE, launch_statistics.batch_sums),
    ):
        mean, var = (p.to(device).requires_grad_() for p in planes)
        sums = function(mean, var, 15_200)
        assert sums.dtype == torch.float64
        sums.backward(grad.to(device))
        results.append((sums.detach(), mean.grad, var.grad))
    assert_close(results[1][0], results[0][0], 1e-12)
    for actual, expected in zip(*reversed(results), strict=True):
        assert_close(actual, expected)


def run_update(function, device, sums, running, *rest) -> list[Tensor]:
    """Return the results, the running statistics and the gradient."""
    sums = sums.to(device).requires_grad_()
    *running, tracked = (r.to(device, copy=True) for r in running)
    mean, var = function(sums, *running, tracked, *rest)
    results = [mean.detach(), var.detach(), *running, tracked]
    if mean.requires_grad:
        weights = torch.linspace(1, 2, len(mean)).to(mean)
        (weights * (mean + 3 * var)).sum().backward()
        results.append(sums.grad)
    return results


@needs_kernels
@pytest.mark.parametrize('update', [True, False])
@pytest.mark.parametrize(
    ('momentum', 'base_batch_size'),
    [(0.3, None), (0.3, 2), (0.3, 4), (None, 4)],
)
@pytest.mark.parametrize('kind', STATISTICS)
@pytest.mark.parametrize(
    'case', ['three images', 'no image', 'one pixel', 'nan', 'inf', 'constant']
)
def test_update_statistics(
    monkeypatch, kind, case, momentum, base_batch_size, update
):
    if kind == 'estimated' and not update:
        pytest.skip('no layer needs estimates without an update')
    monkeypatch.setattr(launch_statistics, 'LARGE_BLOCK', 32)
    c = 70
    mean, var = torch.randn(3, c), torch.rand(3, c)
    if case == 'constant':  # rounding may give a variance below 0
        mean, var = mean[:1].expand(3, c) * 1e3, torch.zeros(3, c)
    if case in ('nan', 'inf'):
        mean[0, 40] = float(case)
    sizes = {'no image': (0, 5), 'one pixel': (1, 1)}
    images, num_pixels = sizes.get(case, (3, 7))
    sums = batch_sums(mean[:images], var[:images], num_pixels)
    running = torch.randn(c), torch.rand(c), torch.tensor(4)
    rest = momentum, kind, update, base_batch_size
    plain = run_update(
        update_statistics.__wrapped__, 'cpu', sums, running, *rest
    )
    fused = run_update(
        launch_statistics.update_statistics, DEVICE, sums, running, *rest
    )
    for actual, expected in zip(fused, plain, strict=True):
        assert actual.dtype == expected.dtype
        assert_close(actual, expected)
    moved = not torch.equal(plain[2], running[0])
    enough = case in ('three images', 'constant') or (
        case == 'one pixel' and kind == 'estimated'
    )
    assert moved == (update and enough)


@needs_kernels
def test_falls_back_to_plain_operators(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    monkeypatch.setattr(launch_statistics._BatchSums, 'apply', None)
    monkeypatch.setattr(launch_statistics._UpdateStatistics, 'apply', None)
    half = torch.rand(2, 4, device=DEVICE, dtype=torch.half)
    sums = batch_sums(half, half, 5)
    update_statistics(
        sums, *half, torch.tensor(0, device=DEVICE), 0.1, 'biased'
    )


@needs_compiler
@pytest.mark.parametrize('kind', STATISTICS)
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_compiles_for_a_gpu(monkeypatch, tmp_path, kernel, kind):
    # Compiling needs no GPU.
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    constants = {
        'KIND': kind,
        'CUMULATIVE': True,
        'UPDATE': True,
        'IMAGES': 32,
        'BLOCK': 64,
    }
    types = {
        'num_batches_ptr': '*i64',
        'sums_ptr': '*fp64',
        'grad_sums_ptr': '*fp64',
        'momentum': 'fp32',
        'base_batch_size': 'fp32',
    }
    assert '.f64' in compile_to_ptx(kernel, constants, types)


@needs_compiler
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_compiles_once_for_all_sizes(kernel):
    for parameter in kernel.params:
        if parameter.name.endswith('_ptr'):
            assert parameter.do_not_specialize_on_alignment
        elif not parameter.is_constexpr and parameter.name not in (
            'momentum',
            'base_batch_size',
        ):
            assert parameter.do_not_specialize


@needs_compiler
def test_all_warps_read_the_number_of_batches_before_its_update(
    monkeypatch, tmp_path
):
    # One thread writes the number. A warp that read it later would count the
    # batch twice.
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    constants = dict(KIND='unbiased', CUMULATIVE=True, UPDATE=True, BLOCK=1024)
    types = dict(
        sums_ptr='*fp64',
        num_batches_ptr='*i64',
        momentum='fp32',
        base_batch_size='fp32',
    )
    ptx = compile_to_ptx(kernels.update_statistics, constants, types)
    store = re.search(r'st\.global\.b64\s+\[ (%rd\d+) \+ 0 \]', ptx)
    load = re.search(rf'ld\.global\.b64[^;]*\[ {store[1]} \+ 0 \]', ptx)
    assert 'bar.sync' in ptx[load.end() : store.start()]
