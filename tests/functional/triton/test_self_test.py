# Copyright (c) mmnorm contributors. All rights reserved.
"""The self-test runs once per device, and sees each wrong kernel."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmnorm.functional import dispatch
from mmnorm.functional.triton import (
    launch_coefficients,
    launch_fused,
    launch_fused_switchable,
    launch_planes,
    launch_statistics,
    launch_switchable,
    self_test,
    self_test_fused,
)
from tests.layers.cases import CHANNELS, call, make_input, make_layer, run

from .devices import DEVICE, needs_kernels


@pytest.fixture
def fake_gpu(monkeypatch):
    """Let each tensor say that it is on a GPU, as dispatch asks."""
    monkeypatch.delenv('MMNORM_BACKEND', raising=False)
    monkeypatch.setattr(dispatch, '_agreed', {})
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)


@pytest.fixture
def few_cases(monkeypatch):
    """Leave one case of the plane operators and one kind of fused norm."""
    monkeypatch.setattr(self_test, 'PLANES', self_test.PLANES[1:2])
    monkeypatch.setattr(self_test_fused, 'KINDS', self_test_fused.KINDS[-1:])


@pytest.fixture
def tested_devices(monkeypatch, few_cases) -> list[torch.device]:
    """Return a list to which each self-test appends its device."""
    tested, original = [], self_test.first_difference

    def first_difference(device: torch.device) -> str | None:
        if tested:
            pytest.fail('the self-test runs a second time')
        tested.append(device)
        return original(device)

    monkeypatch.setattr(self_test, 'first_difference', first_difference)
    return tested


@pytest.fixture
def find_difference(monkeypatch) -> Callable[[str], str | None]:
    """Return a self-test of the cases whose names start with a text."""
    all_cases = self_test._cases

    def find(name: str) -> str | None:
        def cases(device: torch.device):
            return (c for c in all_cases(device) if c[0].startswith(name))

        monkeypatch.setattr(self_test, '_cases', cases)
        return self_test.first_difference(torch.device(DEVICE))

    return find


@pytest.fixture
def default_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_layer_and_input(name: str) -> tuple[nn.Module, Tensor]:
    x = make_input((2, CHANNELS, 5, 7)).detach().float().to(DEVICE)
    return make_layer(name).float().to(DEVICE), x


@needs_kernels
def test_agrees():
    assert self_test.first_difference(torch.device(DEVICE)) is None


@needs_kernels
def test_agrees_in_inference_mode(few_cases, default_float64):
    # The first forward of a process may be an evaluation.
    with torch.inference_mode():
        assert self_test.first_difference(torch.device(DEVICE)) is None


@needs_kernels
def test_leaves_random_numbers_unchanged(few_cases):
    torch.manual_seed(0)
    expected = torch.rand(1, device=DEVICE)
    torch.manual_seed(0)
    self_test.first_difference(torch.device(DEVICE))
    assert torch.equal(torch.rand(1, device=DEVICE), expected)


@needs_kernels
@pytest.mark.parametrize('name', ['BCN estimate', 'SN', 'SyncBN'])
def test_runs_once_without_a_warning(fake_gpu, tested_devices, name):
    layer, x = make_layer_and_input(name)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        run(layer, call, x)
        run(layer, call, x)
    assert len(tested_devices) == 1
    assert dispatch.ops_for(x) is launch_planes


@needs_kernels
@pytest.mark.parametrize('reentrant', [True, False])
def test_runs_in_a_checkpointed_function(fake_gpu, tested_devices, reentrant):
    norm, x = make_layer_and_input('BCN estimate')
    x.requires_grad_()
    checkpoint(norm, x, use_reentrant=reentrant).sum().backward()
    assert len(tested_devices) == 1
    assert norm.bn.num_batches_tracked == 1


@needs_kernels
def test_ends_autocast(monkeypatch):
    dtypes = []

    def multiply() -> tuple:
        matrix = torch.ones(2, 2, device=DEVICE)
        dtypes.append((matrix @ matrix).dtype)
        return ()

    cases = [('matmul', torch.float32, multiply)]
    monkeypatch.setattr(self_test, '_cases', lambda device: cases)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert self_test.first_difference(torch.device(DEVICE)) is None
    assert dtypes == [torch.float32, torch.float32]


def make_wrong(monkeypatch, module, name: str) -> None:
    """Let a function return a first result that is 1 % too large."""
    original = getattr(module, name)

    def wrong(*args):
        result = original(*args)
        if isinstance(result, Tensor):
            return result * 1.01
        return result[0] * 1.01, result[1]

    monkeypatch.setattr(module, name, wrong)


@needs_kernels
@pytest.mark.parametrize(
    'name', ['moments', 'affine', 'plane_sums', 'input_grad']
)
def test_sees_a_wrong_plane_operator(
    monkeypatch, few_cases, find_difference, name
):
    make_wrong(monkeypatch, launch_planes, name)
    found = find_difference('normalize of torch.float32')
    assert found.startswith('its normalize of torch.float32')


@needs_kernels
@pytest.mark.parametrize(
    'module, name',
    [
        (launch_statistics, 'batch_sums'),
        (launch_statistics, 'update_statistics'),
        (launch_coefficients, 'group_coefficients'),
        (launch_coefficients, 'batch_coefficients'),
        (launch_coefficients, 'batch_channel_coefficients'),
        (launch_switchable, 'switchable_coefficients'),
    ],
)
def test_sees_a_wrong_forward(monkeypatch, find_difference, module, name):
    make_wrong(monkeypatch, module, name)
    assert find_difference(name).startswith(f'its {name}')


@needs_kernels
@pytest.mark.parametrize(
    'function, name',
    [
        (launch_statistics._BatchSums, 'batch_sums'),
        (launch_statistics._UpdateStatistics, 'update_statistics'),
        (launch_coefficients._BatchChannel, 'group_coefficients'),
        (launch_coefficients._BatchChannel, 'batch_coefficients'),
        (launch_coefficients._BatchChannel, 'batch_channel_coefficients'),
        (launch_switchable._Switchable, 'switchable_coefficients'),
    ],
)
def test_sees_a_wrong_backward(monkeypatch, find_difference, function, name):
    original = function.backward

    def wrong(*args):
        return tuple(g if g is None else 1.01 * g for g in original(*args))

    monkeypatch.setattr(function, 'backward', staticmethod(wrong))
    assert find_difference(name).startswith(f'its {name}')


@needs_kernels
@pytest.mark.parametrize('direction', ['forward', 'backward'])
@pytest.mark.parametrize(
    'function, name',
    [
        (launch_fused._FusedNorm, 'fused norm'),
        (launch_fused_switchable._FusedSwitchable, 'fused switchable norm'),
    ],
)
def test_sees_a_wrong_fused_norm(
    monkeypatch, find_difference, function, name, direction
):
    original = getattr(function, direction)

    def wrong(*args):
        result = original(*args)
        if isinstance(result, Tensor):
            return result * 1.01
        return tuple(g if g is None else 1.01 * g for g in result)

    monkeypatch.setattr(function, direction, staticmethod(wrong))
    assert find_difference(name).startswith(f'its {name}')


@needs_kernels
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_sees_an_operator_that_is_wrong_for_one_dtype_and_format(
    monkeypatch, find_difference, dtype, channels_last
):
    original = launch_planes.affine

    def wrong(x, *args):
        y = original(x, *args)
        matches = x.dtype == dtype and x.is_contiguous() != channels_last
        return y + 0.5 if matches else y

    monkeypatch.setattr(launch_planes, 'affine', wrong)
    found = find_difference(f'normalize of {dtype}')
    assert found.startswith(f'its normalize of {dtype}')


@needs_kernels
def test_sees_a_wrong_forward_when_the_default_dtype_is_float64(
    monkeypatch, find_difference, default_float64
):
    # The kernels do not support float64 and would not run at all.
    make_wrong(monkeypatch, launch_coefficients, 'group_coefficients')
    found = find_difference('group_coefficients')
    assert found.startswith('its group_coefficients')
