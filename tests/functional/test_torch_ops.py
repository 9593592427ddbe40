# Copyright (c) mmnorm contributors. All rights reserved.
"""The plane operators of torch against their formulas in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmnorm.functional import native_ops, torch_ops

SHAPES = {
    'one pixel': (3, 5, 1, 1),
    'one channel': (2, 1, 5, 7),
    'one plane': (1, 1, 17, 19),
    'one dimension': (2, 3, 9),
    'three dimensions': (2, 3, 2, 3, 4),
    'several images': (3, 6, 8, 9),
}
TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.half: 2e-3,
    torch.bfloat16: 1.6e-2,
}
FORMATS = ('contiguous', 'channels last', 'neither')


def in_format(x: Tensor, memory_format: str) -> Tensor:
    if memory_format == 'channels last':
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if memory_format == 'neither':
        return torch.stack((x, x), -1)[..., 0]
    return x.contiguous()


def expand(x: Tensor, per_plane: Tensor) -> Tensor:
    return per_plane.reshape(*x.shape[:2], *[1] * (x.dim() - 2))


@pytest.mark.parametrize('formats', [(f, f) for f in FORMATS] + [FORMATS[:2]])
@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_formulas(monkeypatch, shape, dtype, formats):
    # Operators work on parts, of which the last is smaller.
    monkeypatch.setattr(native_ops, 'PART', 4 * 72)
    monkeypatch.setattr(native_ops, 'PIXELS', 30)
    tolerance = TOLERANCES[dtype]
    x, dy = torch.randn(2, *shape, dtype=torch.float64)
    x = in_format((2 * x + 0.7).to(dtype), formats[0])
    dy = in_format(dy.to(dtype), formats[1])
    x64, dy64, dims = x.double(), dy.double(), tuple(range(2, x.dim()))
    num_pixels = x.shape[2:].numel()

    mean64 = x64.mean(dims)
    offset = x64 - expand(x, mean64)
    expected = [mean64, offset.square().mean(dims)]
    mean, var = torch_ops.moments(x)
    wide = torch.promote_types(dtype, torch.float32)
    scale, shift, grad_mean, grad_var = torch.randn(4, *mean.shape).to(wide)
    y = torch_ops.affine(x, mean, scale, shift)
    expected.append(expand(x, scale) * offset + expand(x, shift))
    product, total = torch_ops.plane_sums(dy, x, mean)
    expected += [(dy64 * offset).sum(dims), dy64.sum(dims)]
    dx = torch_ops.input_grad(dy, x, mean, scale, grad_mean, grad_var)
    expected.append(
        expand(x, scale) * dy64
        + expand(x, 2 * grad_var / num_pixels) * offset
        + expand(x, grad_mean / num_pixels)
    )
    actual = (mean, var, y, product, total, dx)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(
            a.double(), e.double(), rtol=tolerance, atol=tolerance
        )
    assert mean.dtype == var.dtype == product.dtype == total.dtype == wide
    assert y.dtype == dx.dtype == dtype
    if 'neither' not in formats:
        assert y.stride() == x.stride()


@pytest.mark.parametrize('shape', [(2, 3, 40, 50), (1, 2, 400, 600)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16])
@pytest.mark.parametrize('memory_format', FORMATS)
def test_large_mean(memory_format, dtype, shape):
    # With mean 1000 and deviation 5, E[x^2] - E[x]^2 has no correct digit. A
    # sum of many values, one by one in float32, has few.
    x = in_format((5 * torch.randn(shape) + 1000).to(dtype), memory_format)
    mean, var = torch_ops.moments(x)
    x64, dims = x.double(), (2, 3)
    expected = x64.mean(dims), x64.var(dims, correction=0)
    for a, e in zip((mean, var), expected, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=1e-4, atol=0)


def largest_allocation(function: Callable[..., object], *args: Tensor) -> int:
    with torch.profiler.profile(profile_memory=True) as profile:
        function(*args)
    events = profile.profiler.kineto_results.events()
    return max(e.nbytes() for e in events if e.name() == '[memory]')


@pytest.mark.parametrize('memory_format', FORMATS[:2])
def test_moments_keep_no_copy(memory_format):
    x = in_format(torch.randn(1, 64, 300, 300), memory_format)
    limit = 4 * max(native_ops.PART, x.shape[2:].numel())
    assert largest_allocation(torch_ops.moments, x) <= limit < x.nbytes


@pytest.mark.parametrize('memory_format', FORMATS[:2])
def test_input_grad_keeps_no_copy_in_float32(memory_format):
    x = in_format(torch.randn(1, 64, 300, 300).bfloat16(), memory_format)
    numbers = torch.randn(4, 1, 64)
    largest = largest_allocation(torch_ops.input_grad, x, x, *numbers)
    assert largest <= x.nbytes
