# Copyright (c) mmnorm contributors. All rights reserved.
"""The plane operators in Triton against those of torch in float64."""

import math
import random
from itertools import product

import pytest
import torch
import triton
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from triton.runtime.interpreter import GridExecutor

from benchmarks.compiler import compile_to_ptx
from mmnorm.functional import torch_ops
from mmnorm.functional.dispatch import ops_for
from mmnorm.functional.triton import (
    launch_planes,
    plane_kernels,
    plane_layout,
)
from tests.layers.cases import (
    CHANNELS,
    LAYERS,
    assert_same,
    call,
    make_input,
    make_layer,
    run,
)

from .devices import (
    DEVICE,
    INTERPRETED,
    needs_compiler,
    needs_gpu,
    needs_kernels,
    random_examples,
)

# A result in the dtype of x may differ by a rounding. Results per plane are
# always in float32.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
KERNELS = ('moments', 'merge', 'affine', 'sums', 'input_grad')
ACTIVATION_POINTERS = ('dy_ptr', 'x_ptr', 'y_ptr', 'dx_ptr')
ACTIVATIONS = (None, nn.ReLU(), nn.LeakyReLU(0.1), nn.SiLU())
SHAPES = {
    'one pixel': (3, 5, 1, 1),
    'one channel': (2, 1, 5, 7),
    'one plane': (1, 1, 17, 19),
    'one dimension': (2, 3, 9),
    'three dimensions': (2, 3, 2, 3, 4),
    'a tile': (1, 16, 8, 16),
    'a tile and one pixel': (1, 17, 3, 43),
    'rows of 16 bytes': (1, 72, 5, 8),
    'many chunks': (1, 2, 40, 41),
}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(
        actual.double().cpu(), expected, rtol=tolerance, atol=tolerance
    )


def in_format(x: Tensor, channels_last: bool) -> Tensor:
    if channels_last:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.contiguous()


def check(x: Tensor, dy: Tensor, activation: nn.Module | None = None) -> None:
    """Check all operators, and that the results have the format of x."""
    x64, dy64 = x.double(), dy.double()
    x, dy = x.to(DEVICE), dy.to(DEVICE)
    assert launch_planes.supports(x)
    num_pixels, tolerance = x.shape[2:].numel(), TOLERANCES[x.dtype]
    mean, var = torch_ops.moments(x64)
    per_plane = torch.randn(4, *x.shape[:2])
    scale, shift, grad_mean, grad_var = per_plane.double()

    for actual, expected in zip(
        launch_planes.moments(x), (mean, var), strict=True
    ):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(
            actual.double().cpu(), expected, rtol=1e-5, atol=1e-5
        )
    # Both sides continue with the same mean, because the rounding of a large
    # mean to float32 counts.
    mean32 = mean.float()
    mean = mean32.double()
    mean32 = mean32.to(DEVICE)
    scale32, shift32, *grads32 = per_plane.to(DEVICE)
    y = launch_planes.affine(x, mean32, scale32, shift32, activation)
    z64 = torch_ops.affine(x64, mean, scale, shift)
    assert_close(y, activation(z64) if activation else z64, tolerance)
    fused = (scale32, shift32, activation) if activation else None
    if activation:
        z64.requires_grad_()
        (dy64,) = torch.autograd.grad(activation(z64), z64, dy64)
    sums = launch_planes.plane_sums(dy, x, mean32, fused)
    for actual, expected in zip(
        sums, torch_ops.plane_sums(dy64, x64, mean), strict=True
    ):
        assert actual.dtype == torch.float32
        assert_close(actual / num_pixels, expected / num_pixels, 1e-5)
    dx = launch_planes.input_grad(dy, x, mean32, scale32, *grads32, fused)
    expected = torch_ops.input_grad(
        dy64, x64, mean, scale, grad_mean, grad_var
    )
    assert_close(dx, expected, tolerance)
    for out in (y, dx):
        assert out.dtype == x.dtype
        assert out.stride() == x.stride()


@needs_kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_corner_shapes(shape, channels_last):
    x, dy = torch.randn(2, *shape)
    x, dy = in_format(2 * x + 0.7, channels_last), in_format(dy, channels_last)
    for activation in ACTIVATIONS:
        check(x, dy, activation)


@needs_kernels
@random_examples
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 40),
    size=st.lists(st.integers(1, 16), min_size=1, max_size=3).filter(
        lambda size: math.prod(size) < 300
    ),
    mean=st.sampled_from([0, 1, 10]),
    dtypes=st.tuples(*[st.sampled_from(list(TOLERANCES))] * 2),
    # The activation and the gradient may differ in format.
    channels_last=st.tuples(st.booleans(), st.booleans()),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_random_shapes(
    images, channels, size, mean, dtypes, channels_last, activation
):
    torch.manual_seed(0)
    x, dy = torch.randn(2, images, channels, *size)
    x = in_format((2 * x + mean).to(dtypes[0]), channels_last[0])
    check(x, in_format(dy.to(dtypes[1]), channels_last[1]), activation)


@needs_kernels
@pytest.mark.parametrize('programs, max_chunks', [(1, 8), (5, 8), (99, 4)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_any_split(monkeypatch, programs, max_chunks, channels_last):
    # A chunk has several tiles, and the last chunk is shorter.
    monkeypatch.setattr(plane_layout, 'PROGRAMS', programs)
    monkeypatch.setattr(plane_layout, 'MAX_CHUNKS', max_chunks)
    x, dy = torch.randn(2, 1, 3, 30, 31)
    check(in_format(x, channels_last), dy)


@needs_kernels
@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('programs', [1, 4096])
def test_large_mean(monkeypatch, dtype, programs):
    # With mean 1000 and deviation 1, E[x^2] - E[x]^2 has no correct digit.
    monkeypatch.setattr(plane_layout, 'PROGRAMS', programs)
    x = (torch.randn(1, 2, 40, 50) + 1000).to(dtype)
    expected = torch_ops.moments(x.double())
    actual = launch_planes.moments(x.to(DEVICE))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.double().cpu(), e, rtol=1e-5, atol=0)


@needs_kernels
def test_constant_plane_has_no_variance():
    # The sizes have whole tiles, a part of a tile, and several chunks.
    for size in (3, 16, 20, 43):
        x = torch.full((2, 3, size, size), 7.0, device=DEVICE)
        mean, var = launch_planes.moments(x)
        assert (mean == 7).all()
        assert (var == 0).all()


@needs_kernels
def test_expanded_gradient():
    # The gradient of a sum is one number with strides of 0.
    x = torch.randn(2, 3, 5, 4)
    for channels_last in (False, True):
        check(in_format(x, channels_last), torch.tensor(0.5).expand_as(x))


@needs_kernels
def test_same_bits_each_time():
    x, dy = torch.randn(2, 1, 3, 30, 31, device=DEVICE)
    mean, var = launch_planes.moments(x)
    product, total = launch_planes.plane_sums(dy, x, mean)
    for _ in range(3):
        assert torch.equal(launch_planes.moments(x)[1], var)
        assert torch.equal(launch_planes.plane_sums(dy, x, mean)[0], product)


@needs_kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('name', LAYERS)
def test_layers(monkeypatch, name, channels_last):
    layer, x = make_layer(name), make_input((2, CHANNELS, 12, 13))
    monkeypatch.setenv('MMNORM_BACKEND', 'torch')
    expected = run(layer, call, x)
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    x = in_format(x.detach().float().to(DEVICE), channels_last)
    assert ops_for(x) is launch_planes
    actual = run(layer.float().to(DEVICE), call, x)
    actual = {k: v.to(expected[k]) for k, v in actual.items()}
    # The terms of the gradient of ``bn.weight`` in BCN cancel. The torch
    # operators in float32 lose 2e-5 of this gradient too.
    assert_same(actual, expected, tolerance=1e-4)


@needs_kernels
@pytest.mark.parametrize(
    'name, num_launches',
    {
        'GN': 4,
        'SyncBN': 4,
        'BCN estimate': 4,
        'BCN batch': 4,
        'SN': 6,
    }.items(),
)
def test_few_launches(monkeypatch, name, num_launches):
    # Forward and backward run, and each plane has several chunks.
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    executor, method = (
        (GridExecutor, '__call__')
        if INTERPRETED
        else (triton.JITFunction, 'run')
    )
    launch, launches = getattr(executor, method), []

    def count(kernel, *args, **kwargs):
        launches.append(kernel)
        return launch(kernel, *args, **kwargs)

    monkeypatch.setattr(executor, method, count)
    x = make_input((2, CHANNELS, 24, 25)).detach().float().to(DEVICE)
    run(make_layer(name).float().to(DEVICE), call, x)
    assert len(launches) == num_launches


@needs_kernels
@pytest.mark.parametrize('activation', ACTIVATIONS[1:], ids=repr)
@pytest.mark.parametrize('name', ['GN', 'BCN batch'])
def test_layers_with_a_fused_activation(monkeypatch, name, activation):
    layer, x = make_layer(name), make_input((2, CHANNELS, 12, 13))
    expected = run(layer, lambda norm, x: activation(norm(x)), x)
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    # A call of the module would fail.
    monkeypatch.setattr(type(activation), 'forward', None)
    x = x.detach().float().to(DEVICE)
    layer.float().to(DEVICE)
    actual = run(layer, lambda norm, x: norm(x, activation), x)
    actual = {k: v.to(expected[k]) for k, v in actual.items()}
    assert_same(actual, expected, tolerance=1e-4)


@needs_kernels
def test_relu_of_nan_and_infinity():
    x = torch.tensor([[[float('nan'), float('-inf'), 1.0, -1.0]]])
    x = x.to(DEVICE)
    one, zero = torch.ones(1, 1).to(x), torch.zeros(1, 1).to(x)
    y = launch_planes.affine(x, zero, one, zero, nn.ReLU())
    torch.testing.assert_close(y, x.relu(), equal_nan=True)


@needs_kernels
def test_falls_back_to_torch_operators(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    x = torch.rand(2, 3, 4, 5, device=DEVICE)
    for other in (x.double(), x[:0], x[..., :0], x[..., ::2], x.mT):
        assert ops_for(other) is torch_ops
        x = other.detach().requires_grad_()
        layer = LAYERS['SN'][0](3).to(x)
        y = layer(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == x.shape


@needs_compiler
@pytest.mark.parametrize('dtype, aligned', [('*fp16', 8), ('*fp32', 4)])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(
    'name, activation',
    [
        *((name, '') for name in KERNELS),
        *product(KERNELS[2:], launch_planes.ACTIVATIONS.values()),
    ],
)
def test_compiles_for_a_gpu(
    monkeypatch, tmp_path, name, activation, channels_last, dtype, aligned
):
    # Compiling needs no GPU. A load or store of activations has 16 bytes.
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    kernel = getattr(plane_kernels, name)
    rows, pixels = (
        plane_layout.CHANNELS_LAST_TILE
        if channels_last
        else plane_layout.CONTIGUOUS_TILE
    )
    constants = {
        'ACTIVATION': activation,
        'CHANNELS_LAST': channels_last,
        'ALIGNED': aligned,
        'ROWS': rows,
        'PIXELS': pixels,
        'PLANES': launch_planes.MERGED_PLANES,
        'CHUNKS': plane_layout.MAX_CHUNKS,
    }
    types = dict.fromkeys(ACTIVATION_POINTERS, dtype) | {'slope': 'fp32'}
    ptx = compile_to_ptx(kernel, constants, types, ACTIVATION_POINTERS)
    assert 'global.b16' not in ptx
    assert ('ld.global.v4.b32' in ptx) == (name != 'merge')


@needs_compiler
@pytest.mark.parametrize('dtype', ['*fp16', '*fp32'])
@pytest.mark.parametrize('name', ['affine', 'input_grad'])
def test_flat_memory_has_wide_access(monkeypatch, tmp_path, name, dtype):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    constants = {
        'ACTIVATION': 'relu',
        'CHANNELS_LAST': False,
        'ALIGNED': 0,
        'ROWS': 0,
        'PIXELS': plane_layout.FLAT_TILE,
    }
    types = dict.fromkeys(ACTIVATION_POINTERS, dtype) | {'slope': 'fp32'}
    kernel = getattr(plane_kernels, name)
    ptx = compile_to_ptx(kernel, constants, types, ACTIVATION_POINTERS)
    assert 'ld.global.v4.b32' in ptx
    assert 'st.global.v4.b32' in ptx


@pytest.mark.parametrize(
    ('shape', 'is_flat'),
    [
        ((2, 3, 7, 7), True),  # begins anywhere
        ((2, 3, 4, 4), True),  # an eighth of a tile
        ((2, 3, 25, 42), True),
        ((2, 3, 14, 14), False),
        ((1, 3, 100, 152), False),
    ],
)
def test_small_and_odd_planes_are_flat(shape, is_flat):
    x = torch.empty(shape, device='meta')
    num_programs, constants = plane_layout.written_tiles(
        x, *[plane_layout.layout(x)[i] for i in (0, 2, 3)]
    )
    flat = False, 0, 0, plane_layout.FLAT_TILE
    assert (constants == flat) == is_flat
    size = constants[-1] * (constants[-2] or 1)
    assert num_programs * size >= x.numel()


@needs_compiler
@pytest.mark.parametrize('name', KERNELS)
def test_compiles_once_for_all_sizes(name):
    for parameter in getattr(plane_kernels, name).params:
        if parameter.name.endswith('_ptr'):
            is_activation = parameter.name in ACTIVATION_POINTERS
            is_specialized = not parameter.do_not_specialize_on_alignment
            assert is_specialized == is_activation
        elif not parameter.is_constexpr and parameter.name != 'slope':
            assert parameter.do_not_specialize


@needs_gpu
def test_no_size_compiles_again():
    def step(height, width, channels_last):
        x, dy = torch.randn(2, 1, 24, height, width, device='cuda')
        x = in_format(x, channels_last).requires_grad_()
        layer(x).backward(dy)

    def num_compiled():
        kernels = [getattr(plane_kernels, name) for name in KERNELS]
        device = torch.cuda.current_device()
        return sum(len(k.device_caches[device][0]) for k in kernels)

    layer = LAYERS['SN'][0](24).cuda()
    draw = random.Random(0)
    for channels_last in (False, True):
        step(64, 64, channels_last)
        step(63, 61, channels_last)
        compiled = num_compiled()
        for _ in range(20):
            step(draw.randint(1, 300), draw.randint(1, 300), channels_last)
        assert num_compiled() == compiled


@needs_gpu
@pytest.mark.parametrize('channels_last', [False, True])
def test_more_than_2_to_the_31_elements(channels_last):
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip('needs 30 GB of GPU memory')
    shape = (2, 65, 4096, 4100)
    memory_format = (
        torch.channels_last if channels_last else torch.contiguous_format
    )
    x = torch.empty(
        shape, dtype=torch.half, device='cuda', memory_format=memory_format
    ).normal_()
    x[-1, -1] += 3
    mean, var = launch_planes.moments(x)
    last = x[-1, -1].double()
    assert_close(mean[-1, -1], last.mean().cpu(), 1e-5)
    assert_close(var[-1, -1], last.var(correction=0).cpu(), 1e-5)
    y = launch_planes.affine(x, mean, var.rsqrt(), torch.zeros_like(mean))
    assert y[-1, -1].float().mean().abs() < 1e-3
    product, total = launch_planes.plane_sums(y, x, mean)
    assert_close(
        product[-1, -1] / last.numel(), var[-1, -1].sqrt().cpu().double(), 1e-3
    )
