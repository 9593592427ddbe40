# Copyright (c) mmnorm contributors. All rights reserved.
"""Whole norms in fused kernels against the formulas in float64."""

import copy
import random
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from triton.runtime import interpreter

from mmnorm import BCN, GN, SN, SyncBN
from mmnorm.functional.dispatch import forced
from mmnorm.functional.triton import (
    counters,
    launch_coefficients,
    launch_fused,
    launch_fused_switchable,
    plan,
    plane_layout,
)
from mmnorm.layers import fused_batch
from tests import reference
from tests.layers.cases import (
    assert_same,
    call,
    make_input,
    run,
    uneven_loss,
)

from .devices import DEVICE, needs_kernels

# Images, channels, groups, height and width. A tile has 16 rows, or 64 where
# the channels are last: groups fill a part of it, the whole, or several.
SHAPES = {
    'one image': (1, 8, 4, 6, 4),
    'two images': (2, 32, 4, 5, 7),
    'nine images': (9, 8, 4, 3, 3),
    'many images': (70, 4, 2, 1, 2),
    'groups of three': (2, 12, 4, 5, 8),
    'groups of twenty': (2, 40, 2, 4, 5),
    'one large group': (1, 130, 1, 2, 3),
    'one channel per group': (2, 6, 6, 3, 4),
    'one pixel': (3, 8, 2, 1, 1),
    'many chunks': (2, 8, 4, 17, 19),
}
NORMS = {
    'GN': (GN, reference.gn),
    'BCN': (
        partial(BCN, momentum=0.3, estimate_grad=None, base_batch_size=None),
        reference.bcn,
    ),
    'BCN batch': (
        partial(BCN, estimate=False, channel_affine='channel', momentum=None),
        reference.bcn,
    ),
    'BCN gradient of image': (
        partial(BCN, estimate_grad='image', grad_share=0.6),
        reference.bcn,
    ),
    'BCN gradient of batch': (
        partial(BCN, estimate_grad='batch', grad_share=0.6, momentum=None),
        reference.bcn,
    ),
    'SyncBN': (lambda c, _: SyncBN(c, momentum=0.3), reference.sync_bn),
    'SN': (lambda c, _: SN(c, momentum=None), reference.sn),
    'SN without BN': (lambda c, _: SN(c, use_bn=False), reference.sn),
}

# These send nothing in the backward.
CONSTANT = ('BCN', 'BCN gradient of image')


@pytest.fixture(autouse=True)
def kernels_run(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')


def recorded(function, calls: list):
    def record(*args):
        calls.append(args)
        return function(*args)

    return record


@pytest.fixture
def fused_calls(monkeypatch) -> list:
    """Return a list to which each fused norm appends its settings."""
    calls = []
    for module, name in (
        (launch_fused, 'fused_norm'),
        (launch_fused_switchable, 'switchable_norm'),
    ):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, recorded(original, calls))
    return calls


def make_norm(name: str, channels: int, groups: int) -> nn.Module:
    torch.manual_seed(0)
    norm = NORMS[name][0](channels, groups).double()
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2)
    return norm


def convert(x: Tensor, channels_last: bool = False) -> Tensor:
    x = x.detach().float().to(DEVICE)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x


def check(
    norm: nn.Module,
    formula,
    x: Tensor,
    channels_last: bool = False,
    tolerance: float = 1e-4,
) -> None:
    expected = run(norm, lambda norm, x: formula(norm, [x])[0], x)
    x = convert(x, channels_last)
    actual = run(copy.deepcopy(norm).float().to(DEVICE), call, x)
    assert actual['output'].stride() == x.stride()
    actual = {k: v.to(expected[k]) for k, v in actual.items()}
    assert_same(actual, expected, tolerance)


@needs_kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize('name', NORMS)
def test_shapes(fused_calls, name, shape, channels_last):
    n, c, groups, *size = shape
    norm, x = make_norm(name, c, groups), make_input((n, c, *size))
    # The variance of two numbers per group may be small.
    check(norm, NORMS[name][1], x, channels_last, tolerance=3e-4)
    assert len(fused_calls) == 1


@needs_kernels
@pytest.mark.parametrize('shape', [(4, 8), (2, 8, 9), (2, 8, 2, 3, 4)])
@pytest.mark.parametrize('name', ['GN', 'BCN gradient of batch'])
def test_other_dimensions(fused_calls, name, shape):
    check(make_norm(name, 8, 2), NORMS[name][1], make_input(shape))
    assert len(fused_calls) == 1


@needs_kernels
@pytest.mark.parametrize('programs, max_chunks', [(1, 8), (5, 8), (99, 4)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_any_split(monkeypatch, programs, max_chunks, channels_last):
    # A chunk has several tiles, and the last chunk is shorter.
    monkeypatch.setattr(plane_layout, 'PROGRAMS', programs)
    monkeypatch.setattr(plane_layout, 'MAX_CHUNKS', max_chunks)
    monkeypatch.setattr(plan, 'PARTS', 64)
    name = 'BCN gradient of batch'
    x = make_input((2, 8, 30, 31))
    check(make_norm(name, 8, 4), NORMS[name][1], x, channels_last)


@needs_kernels
@pytest.mark.parametrize('images', [1, 2, 4])
def test_any_number_of_images_at_once(monkeypatch, images):
    monkeypatch.setattr(plan, 'TILE', 16 * images)
    monkeypatch.setattr(launch_coefficients, 'TILE', 8 * images)
    x = make_input((5, 8, 3, 3))
    for name in ('BCN gradient of batch', 'SN'):
        check(make_norm(name, 8, 4), NORMS[name][1], x)


@needs_kernels
@pytest.mark.parametrize('affine', [True, False])
def test_group_norm_without_affine(affine):
    norm = GN(8, 4, affine=affine).double()
    x = make_input((2, 8, 3, 4))
    expected = run(norm, lambda n, x: nn.GroupNorm.forward(n, x), x)
    actual = run(norm.float().to(DEVICE), call, convert(x))
    actual = {k: v.to(expected[k]) for k, v in actual.items()}
    assert_same(actual, expected, 1e-4)


@needs_kernels
@pytest.mark.parametrize('shape', ['nine images', 'many chunks'])
@pytest.mark.parametrize('name', list(NORMS)[1:-1])
def test_launches_behind_an_all_reduce(monkeypatch, name, shape):
    # The sums of the other processes are 0.
    reduced = []
    monkeypatch.setattr(fused_batch, 'reducer', lambda _: reduced.append)
    n, c, groups, *size = SHAPES[shape]
    norm, x = make_norm(name, c, groups), make_input((n, c, *size))
    check(norm, NORMS[name][1], x, tolerance=3e-4)
    assert len(reduced) == (1 if name in CONSTANT else 2)


@needs_kernels
@pytest.mark.parametrize('estimate', [True, False])
def test_evaluation_has_gradients(fused_calls, estimate):
    # With norm_eval=True, mmdet trains a layer whose statistics stay.
    norm = make_norm('BCN' if estimate else 'BCN batch', 8, 4)
    norm.bn.eval()
    check(norm, reference.bcn, make_input((3, 8, 3, 4)))
    assert len(fused_calls) == 1


@needs_kernels
@pytest.mark.parametrize('name', ['BCN', 'BCN batch', 'BCN gradient of batch'])
def test_one_value_per_channel(name):
    norm, x = make_norm(name, 8, 2), make_input((1, 8, 1, 1))
    check(norm, NORMS[name][1], x)


@needs_kernels
@pytest.mark.parametrize('gradient', [None, 'image', 'batch'])
def test_step(fused_calls, gradient):
    norms = [
        make_norm('BCN', 8, 4).float(),
        BCN(8, 4, sync='step', estimate_grad=gradient).to(DEVICE),
    ]
    assert not any(norms[1].load_state_dict(norms[0].state_dict()))
    x = make_input((3, 8, 3, 4))
    results = []
    norm = norms[1]
    for backend in ('torch', 'triton'):
        other = copy.deepcopy(norm)
        other.start_steps()
        if backend == 'torch':
            other = other.cpu().double()
            with forced('torch'):
                out = [run_in_place(other, x) for _ in range(2)]
        else:
            out = [run_in_place(other, convert(x)) for _ in range(2)]
        results.append([*out[0], *out[1], other.step_sums])
    assert len(fused_calls) == 2
    for actual, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(
            actual.to(expected), expected, rtol=1e-4, atol=1e-4
        )


def run_in_place(norm: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    y = norm(x)
    norm.zero_grad()
    uneven_loss(y).backward()
    grads = [p.grad for p in norm.parameters()]
    return [y.detach(), x.grad, *grads, *copy.deepcopy(norm).buffers()]


@needs_kernels
@pytest.mark.parametrize('value', [float('nan'), float('inf'), 3e38])
@pytest.mark.parametrize('name', ['BCN', 'BCN batch', 'BCN gradient of batch'])
def test_moments_that_are_not_finite_move_nothing(name, value):
    norm = make_norm(name, 40, 20).float().to(DEVICE)
    before = copy.deepcopy(norm.state_dict())
    x = convert(make_input((2, 40, 3, 4)))
    x[1, 5, 2, 0] = value
    y = norm(x)
    for key, old in before.items():
        assert torch.equal(norm.state_dict()[key], old)
    # The other groups are normalized with statistics that have not moved.
    if name != 'BCN batch':
        expected = norm.eval()(x)
        torch.testing.assert_close(y, expected, equal_nan=True)
        assert y[:, :4].isfinite().all()
    counted = counters._of_stream.values()
    assert not any(each.any() for each in counted)
    norm.train()(convert(make_input((2, 40, 3, 4))))
    assert norm.bn.num_batches_tracked == before['bn.num_batches_tracked'] + 1


def shuffle_programs(monkeypatch) -> None:
    """Let the interpreter run the programs of each launch in any order."""
    builder = interpreter.interpreter_builder
    original, draw = builder.set_grid_idx, random.Random(0)
    orders: dict[int, list[int]] = {}

    def set_grid_idx(x: int, y: int, z: int) -> None:
        size = builder.grid_dim[0]
        if x == 0:
            orders[size] = draw.sample(range(size), size)
        original(orders[size][x], y, z)

    monkeypatch.setattr(builder, 'set_grid_idx', set_grid_idx)


@needs_kernels
@pytest.mark.parametrize(
    'times', [5, pytest.param(50, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('name', [n for n in NORMS if n != 'SN without BN'])
def test_same_bits_in_any_order(monkeypatch, name, times):
    # Whichever program of a team is the last, it adds in the same order.
    monkeypatch.setattr(plane_layout, 'PROGRAMS', 99)
    monkeypatch.setattr(launch_coefficients, 'TILE', 8)
    norm = make_norm(name, 8, 2).float().to(DEVICE)
    x = convert(make_input((2, 8, 9, 16)))
    first = run(norm, call, x)
    if DEVICE == 'cpu':
        shuffle_programs(monkeypatch)
    for _ in range(times):
        for key, value in run(norm, call, x).items():
            assert torch.equal(value, first[key]), key


@needs_kernels
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', ['GN', 'BCN gradient of image'])
def test_half_precision(fused_calls, name, dtype):
    norm, x = make_norm(name, 8, 4), make_input((2, 8, 6, 8))
    x = x.detach().to(dtype).double()
    formula = NORMS[name][1]
    expected = run(norm, lambda norm, x: formula(norm, [x])[0], x)
    for norm_dtype in (torch.float32, dtype):
        other = copy.deepcopy(norm).to(DEVICE, norm_dtype)
        if norm_dtype == dtype and name != 'GN':
            other.bn.float()  # running statistics stay in float32
        actual = run(other, call, x.to(DEVICE, dtype))
        assert actual['output'].dtype == dtype
        actual = {k: v.to(expected[k]) for k, v in actual.items()}
        tolerance = 0.02 if dtype == torch.float16 else 0.15
        for key, value in expected.items():
            scale = value.abs().max().clamp(min=1)
            assert (actual[key] - value).abs().max() < tolerance * scale, key
    assert len(fused_calls) == 2


@needs_kernels
@pytest.mark.parametrize(
    'activation', [nn.ReLU(), nn.LeakyReLU(0.1), nn.SiLU()], ids=repr
)
@pytest.mark.parametrize('name', ['GN', 'BCN gradient of batch'])
def test_activation_inside(monkeypatch, fused_calls, name, activation):
    norm, x = make_norm(name, 8, 4), make_input((2, 8, 5, 7))
    expected = run(norm, lambda norm, x: activation(norm(x)), x)
    monkeypatch.setattr(type(activation), 'forward', None)  # nobody calls it
    for channels_last in (False, True):
        actual = run(
            copy.deepcopy(norm).float().to(DEVICE),
            lambda norm, x: norm(x, activation),
            convert(x, channels_last),
        )
        actual = {k: v.to(expected[k]) for k, v in actual.items()}
        assert_same(actual, expected, 1e-4)
    assert len(fused_calls) == 2


@needs_kernels
def test_other_activation_runs_behind():
    norm, x = make_norm('GN', 8, 4).float().to(DEVICE), make_input((2, 8, 5))
    x = convert(x)
    torch.testing.assert_close(norm(x, nn.Tanh()), norm(x).tanh())


@needs_kernels
def test_frozen_input_and_parameters():
    norm = make_norm('BCN gradient of image', 8, 4).float().to(DEVICE)
    x = convert(make_input((2, 8, 3, 4))).requires_grad_()
    full = run(norm, call, x)
    norm.bn.weight.requires_grad_(False)
    uneven_loss(norm(x.detach())).backward()
    assert norm.bn.weight.grad is None
    torch.testing.assert_close(norm.weight.grad, full['weight gradient'])


@needs_kernels
@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('name', ['GN', 'BCN', 'BCN gradient of batch'])
def test_checkpointed_function(name, reentrant):
    norm, x = make_norm(name, 8, 4).float().to(DEVICE), make_input((2, 8, 5))
    x = convert(x)
    expected = run(norm, call, x)
    actual = run(norm, partial(checkpoint, use_reentrant=reentrant), x)
    assert_same(actual, expected, 1e-5)


@needs_kernels
@pytest.mark.parametrize('name', ['GN', 'BCN'])
def test_falls_back_to_the_pipe(monkeypatch, fused_calls, name):
    monkeypatch.setattr(launch_fused, 'MAX_POOLED', 2)
    norm, x = make_norm(name, 16, 4).float().to(DEVICE), make_input((2, 16, 5))
    x = convert(x)
    norm(x)
    norm.double()(x.double())
    norm.float()(x[:0])
    norm(x[..., ::2])
    assert not fused_calls


@needs_kernels
@pytest.mark.parametrize(
    'num_images, chunks', list(product((1, 2, 9, 300), (1, 7)))
)
def test_three_numbers_of_images_at_once(num_images, chunks):
    sizes = {
        plan._images_at_once(n, chunks, 16) for n in range(1, num_images + 1)
    }
    assert sizes <= {1, 2, plan.TILE // 16}


@needs_kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('name', ['GN', 'BCN gradient of batch', 'SN'])
def test_saved_tensors_of_another_format(fused_calls, name, channels_last):
    # Activations that wait on the CPU come back contiguous.
    norm = make_norm(name, 8, 4).float().to(DEVICE)
    x = convert(make_input((2, 8, 5, 7)), channels_last)
    expected = run(norm, call, x)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor.contiguous(), lambda tensor: tensor
    ):
        actual = run(norm, call, x)
    assert len(fused_calls) == 2
    assert_same(actual, expected, 1e-6)
