# Copyright (c) mmnorm contributors. All rights reserved.
"""The coefficients in Triton against their formulas in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.compiler import compile_to_ptx, read_resources
from mmnorm.functional import coefficients as formulas
from mmnorm.functional import dispatch, torch_ops
from mmnorm.functional.triton import (
    batch_channel_kernels,
    launch_coefficients,
    launch_switchable,
    switchable_kernels,
)
from tests.layers.cases import (
    LAYERS,
    NO_COEFFICIENT_KERNELS,
    call,
    make_input,
    run,
)

from .devices import DEVICE, needs_compiler, needs_kernels, random_examples

KERNELS = (
    batch_channel_kernels.batch_channel,
    batch_channel_kernels.batch_channel_grad,
    switchable_kernels.switchable,
    switchable_kernels.switchable_grad,
)
# A size is the number of images, channels and groups.
SIZES = {
    'one plane': (1, 1, 1),
    'one channel per group': (2, 6, 6),
    'one group': (3, 10, 1),
    'groups of three': (2, 12, 4),
    'more images than a tile': (1100, 4, 2),
    'more channels than a block': (2, 130, 2),
    'thousands of channels': (1, 2048, 32),
}


def make_batch(c: int) -> tuple[Tensor, ...]:
    mean, var, gamma, beta = torch.rand(4, c).double()
    return mean, var + 0.1, gamma, beta


def make_affine(size: int) -> tuple[Tensor, Tensor]:
    weight, bias = torch.randn(2, size).double()
    return weight, bias


def make_cases(c: int, g: int) -> dict[str, tuple]:
    logits = torch.randn(2, 3).double()
    batch, group, channel = make_batch(c), make_affine(g), make_affine(c)
    return {
        'group': ('group', g, *channel, 1e-5),
        'group without affine': ('group', g, None, None, 1e-5),
        'group without bias': ('group', g, channel[0], None, 1e-5),
        'group without weight': ('group', g, None, channel[1], 1e-5),
        'group without eps': ('group', g, *channel, 0.0),
        'batch': ('batch', *batch, 1e-3),
        'batch channel': ('batch_channel', g, (*batch, 0.1), *group, 0.2),
        'batch channel, channel affine': (
            'batch_channel',
            g,
            (*batch, 0.1),
            *channel,
            0.2,
        ),
        'switchable': ('switchable', batch[:2], *logits, *channel, 1e-5),
        'switchable without batch': (
            'switchable',
            None,
            *logits[:, :2],
            *channel,
            1e-5,
        ),
    }


def make_leaves(arguments, dtype: torch.dtype, device: str) -> list:
    """Return leaves of a dtype and on a device, nested as the arguments."""
    return [
        make_leaves(a, dtype, device)
        if isinstance(a, (tuple, list))
        else a.to(device, dtype).detach().requires_grad_()
        if isinstance(a, Tensor)
        else a
        for a in arguments
    ]


def flatten(arguments: list) -> list[Tensor]:
    found = []
    for a in arguments:
        found += flatten(a) if isinstance(a, list) else [a]
    return [a for a in found if isinstance(a, Tensor)]


def compute(functions, name, moments, arguments, grads) -> list[Tensor]:
    function = getattr(functions, f'{name}_coefficients')
    function = getattr(function, '__wrapped__', function)
    moments = moments[:1] if name == 'batch' else moments
    results = function(*moments, *arguments)
    grads = [g.to(results[0]) for g in grads]
    n, c = moments[0].shape
    results = [r.expand(n, c) for r in results]
    inputs = [*moments, *flatten(arguments)]
    return [*results, *torch.autograd.grad(results, inputs, grads)]


def check(n: int, case: tuple, c: int, dtype=torch.float32) -> None:
    name, *arguments = case
    mean, var, *grads = torch.rand(4, n, c).double()
    moments = [2 * mean - 0.4, var + 0.05]
    rounded = make_leaves(arguments, dtype, 'cpu')
    expected = compute(
        formulas,
        name,
        make_leaves(moments, torch.float64, 'cpu'),
        make_leaves(rounded, torch.float64, 'cpu'),
        grads,
    )
    is_mix = name == 'switchable'
    actual = compute(
        launch_switchable if is_mix else launch_coefficients,
        name,
        make_leaves(moments, torch.float32, DEVICE),
        make_leaves(arguments, dtype, DEVICE),
        grads,
    )
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype in (torch.float32, dtype)
        scale = max(e.abs().max().item(), 1)
        tolerance = 1e-3 if a.dtype == torch.half else 2e-5
        torch.testing.assert_close(
            a.double().cpu(), e, rtol=tolerance, atol=tolerance * scale
        )


@needs_kernels
@pytest.mark.parametrize('case', make_cases(1, 1))
@pytest.mark.parametrize('size', SIZES)
def test_formulas(size, case):
    n, c, g = SIZES[size]
    check(n, make_cases(c, g)[case], c)


@needs_kernels
@random_examples
@given(
    n=st.integers(1, 40),
    g=st.integers(1, 8),
    per_group=st.integers(1, 20),
    case=st.sampled_from(list(make_cases(1, 1))),
    dtype=st.sampled_from([torch.float, torch.half]),
)
def test_random_sizes(n, g, per_group, case, dtype):
    torch.manual_seed(0)
    c = g * per_group
    check(n, make_cases(c, g)[case], c, dtype)


@needs_kernels
@pytest.mark.parametrize('tile, channels', [(16, 4), (64, 8)])
def test_any_split(monkeypatch, tile, channels):
    monkeypatch.setattr(launch_coefficients, 'TILE', tile)
    monkeypatch.setattr(launch_coefficients, 'CHANNELS', channels)
    for case in make_cases(12, 4).values():
        check(5, case, 12)


@needs_kernels
def test_same_bits_each_time():
    def compute_once() -> list[Tensor]:
        torch.manual_seed(0)
        name, *arguments = make_cases(12, 4)['batch channel']
        moments = list(torch.rand(2, 50, 12))
        moments = make_leaves(moments, torch.float32, DEVICE)
        arguments = make_leaves(arguments, torch.float32, DEVICE)
        grads = torch.rand(2, 50, 12)
        return compute(launch_coefficients, name, moments, arguments, grads)

    for a, b in zip(compute_once(), compute_once(), strict=True):
        assert torch.equal(a, b)


@needs_kernels
@pytest.mark.parametrize(
    'name', [n for n in LAYERS if n not in NO_COEFFICIENT_KERNELS]
)
def test_layers_use_the_kernels(monkeypatch, name):
    # The fused kernels leave the coefficients to those of other norms, and of
    # layers that exchange statistics.
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    monkeypatch.setattr(dispatch, 'ops_for', lambda x: torch_ops)
    layer, x = LAYERS[name][0](8).to(DEVICE), make_input((2, 8, 5, 7))
    x = x.detach().float().to(DEVICE)
    calls = []
    for function in (
        launch_coefficients._BatchChannel,
        launch_switchable._Switchable,
    ):
        apply = record_calls(function.apply, calls)
        monkeypatch.setattr(function, 'apply', apply)
    run(layer, call, x)
    assert len(calls) == 1


def record_calls(apply, calls: list):
    def record(*args):
        calls.append(apply)
        return apply(*args)

    return record


@needs_kernels
def test_falls_back_to_plain_operators(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    monkeypatch.setattr(launch_coefficients._BatchChannel, 'apply', None)
    for mean in (torch.rand(2, 8).double(), torch.rand(2, 8).half()):
        mean = mean.to(DEVICE)
        formulas.group_coefficients(mean, mean, 4, None, None, 0.1)
    empty = torch.rand(0, 0, device=DEVICE)
    assert not launch_coefficients.supports(
        'group_coefficients', empty, empty, 4
    )


@needs_kernels
def test_no_image(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    mean = torch.rand(0, 8, device=DEVICE, requires_grad=True)
    weight, bias = nn.Parameter(torch.rand(2, 8, device=DEVICE)).unbind()
    scale, shift = formulas.group_coefficients(
        mean, mean, 4, weight, bias, 0.1
    )
    grads = torch.autograd.grad((scale.sum() + shift.sum()), (weight, bias))
    assert scale.shape == (0, 8)
    assert not any(g.any() for g in grads)


@needs_compiler
@pytest.mark.parametrize('has_batch', [False, True])
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_compiles_for_a_gpu(monkeypatch, tmp_path, kernel, has_batch):
    # Compiling needs no GPU.
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    constants = {
        'HAS_BATCH': has_batch,
        'HAS_GROUPS': True,
        'HAS_WEIGHT': True,
        'HAS_BIAS': True,
        'WEIGHT_PER_GROUP': True,
        'IMAGES': 2,
        'BLOCK': 256,
    }
    types = dict.fromkeys(('batch_eps', 'eps'), 'fp32')
    assert 'rsqrt' in compile_to_ptx(kernel, constants, types)


@needs_compiler
@pytest.mark.parametrize('block, images', [(8, 256), (1024, 2), (2048, 1)])
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_registers_do_not_spill(monkeypatch, tmp_path, kernel, block, images):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    flags = ('BATCH', 'GROUPS', 'WEIGHT', 'BIAS')
    constants = dict.fromkeys((f'HAS_{flag}' for flag in flags), True)
    constants |= dict(WEIGHT_PER_GROUP=True, IMAGES=images, BLOCK=block)
    types = dict.fromkeys(('batch_eps', 'eps'), 'fp32')
    num_warps = launch_coefficients._num_warps(block)
    if kernel is switchable_kernels.switchable_grad:
        num_warps = launch_switchable.GRAD_WARPS
    ptx = compile_to_ptx(kernel, constants, types, num_warps=num_warps)
    assert read_resources(ptx).spilled == 0


@needs_kernels
@pytest.mark.parametrize('num_groups', [1, 32])
def test_too_many_channels_for_registers(monkeypatch, num_groups):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    monkeypatch.setattr(launch_coefficients._BatchChannel, 'apply', None)
    mean, var = torch.rand(2, 1, 4096, device=DEVICE)
    arguments = mean, var, num_groups, None, None, 0.1
    if num_groups == 1:
        formulas.group_coefficients(*arguments)
    else:
        with pytest.raises(TypeError, match='not callable'):
            formulas.group_coefficients(*arguments)


@needs_kernels
def test_any_number_of_images_fits_the_grid(monkeypatch):
    # The axes of a grid end at 65535, except for the first axis.
    grids = []

    class Kernel:
        def __getitem__(self, grid):
            grids.append(grid)
            return lambda *args, **kwargs: None

    for name in ('batch_channel', 'batch_channel_grad'):
        monkeypatch.setattr(batch_channel_kernels, name, Kernel())
    monkeypatch.setattr(launch_coefficients, 'TILE', 1)
    mean, var = torch.rand(2, 70000, 4, device=DEVICE)
    launch_coefficients.group_coefficients(mean, var, 2, None, None, 0.1)
    assert grids == [(2 * 70000,)]


@needs_compiler
@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: k.__name__)
def test_compiles_once_for_all_sizes(kernel):
    for parameter in kernel.params:
        if parameter.name.endswith('_ptr'):
            assert parameter.do_not_specialize_on_alignment
        elif not parameter.is_constexpr and 'eps' not in parameter.name:
            assert parameter.do_not_specialize
