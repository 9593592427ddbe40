# Copyright (c) mmnorm contributors. All rights reserved.
"""The self-test of the kernels: it runs once, and it sees what is wrong."""

import warnings

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmnorm import BCN, SN, SyncBN
from mmnorm.functional import dispatch
from mmnorm.functional.triton import (
    launch_coefficients,
    launch_planes,
    launch_statistics,
    self_test,
)
from tests.layers.cases import call, make_input, run

from .devices import DEVICE, runs


@pytest.fixture
def on_gpu(monkeypatch):
    """Let tensors say that they are on a GPU, where dispatch begins."""
    monkeypatch.delenv('MMNORM_BACKEND', raising=False)
    monkeypatch.setattr(dispatch, '_agreed', {})
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)


@pytest.fixture
def runs_of_self_test(monkeypatch) -> list[torch.device]:
    seen, right = [], self_test.first_difference

    def first_difference(device: torch.device) -> str | None:
        seen.append(device)
        return right(device)

    monkeypatch.setattr(self_test, 'first_difference', first_difference)
    return seen


@runs
def test_agrees():
    device = torch.device(DEVICE)
    assert self_test.first_difference(device) is None
    # Also where the first forward is that of an evaluation.
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            assert self_test.first_difference(device) is None
    finally:
        torch.set_default_dtype(torch.float32)


@runs
def test_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1, device=DEVICE)
    torch.manual_seed(0)
    self_test.first_difference(torch.device(DEVICE))
    assert torch.equal(torch.rand(1, device=DEVICE), expected)


@runs
@pytest.mark.parametrize('layer', [BCN, SN, SyncBN])
def test_runs_once_without_a_warning(on_gpu, runs_of_self_test, layer):
    x = make_input((2, 32, 5, 7)).detach().float().to(DEVICE)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        run(layer(32).to(DEVICE), call, x)
        run(layer(32).to(DEVICE), call, x)
    assert len(runs_of_self_test) == 1
    assert dispatch.ops_for(x) is launch_planes


@runs
@pytest.mark.parametrize('reentrant', [True, False])
def test_runs_in_a_checkpointed_function(on_gpu, runs_of_self_test, reentrant):
    x = make_input((2, 32, 5, 7)).detach().float().to(DEVICE)
    norm = BCN(32).to(DEVICE)
    x.requires_grad_()
    checkpoint(norm, x, use_reentrant=reentrant).sum().backward()
    assert len(runs_of_self_test) == 1
    assert norm.bn.num_batches_tracked == 1


@runs
def test_runs_under_autocast(on_gpu, runs_of_self_test):
    x = make_input((2, 32, 5, 7)).detach().float().to(DEVICE)
    with torch.autocast(DEVICE, torch.bfloat16):
        BCN(32).to(DEVICE)(x)
    assert len(runs_of_self_test) == 1
    assert dispatch.ops_for(x) is launch_planes


@runs
@pytest.mark.parametrize(
    'module, name',
    [
        (launch_planes, 'moments'),
        (launch_planes, 'affine'),
        (launch_planes, 'plane_sums'),
        (launch_planes, 'input_grad'),
        (launch_statistics, 'batch_sums'),
        (launch_statistics, 'update_statistics'),
        (launch_coefficients, 'group_coefficients'),
        (launch_coefficients, 'batch_coefficients'),
        (launch_coefficients, 'batch_channel_coefficients'),
        (launch_coefficients, 'switchable_coefficients'),
    ],
)
def test_sees_a_wrong_forward(monkeypatch, module, name):
    right = getattr(module, name)

    def wrong(*args):
        result = right(*args)
        if isinstance(result, Tensor):
            return result * 1.01
        return result[0] * 1.01, result[1]

    monkeypatch.setattr(module, name, wrong)
    found = self_test.first_difference(torch.device(DEVICE))
    assert found.startswith('its ')


@runs
@pytest.mark.parametrize(
    'function',
    [
        launch_statistics._BatchSums,
        launch_statistics._UpdateStatistics,
        launch_coefficients._BatchChannel,
        launch_coefficients._Switchable,
    ],
)
def test_sees_a_wrong_backward(monkeypatch, function):
    right = function.backward

    def wrong(*args):
        return tuple(g if g is None else 1.01 * g for g in right(*args))

    monkeypatch.setattr(function, 'backward', staticmethod(wrong))
    found = self_test.first_difference(torch.device(DEVICE))
    assert found.startswith('its ')


@runs
@pytest.mark.parametrize(
    'dtype, channels_last',
    [
        (dtype, channels_last)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
        for channels_last in (False, True)
    ],
)
def test_sees_what_one_kind_of_tensor_alone_gets_wrong(
    monkeypatch, dtype, channels_last
):
    right = launch_planes.affine

    def wrong(x, *args):
        y = right(x, *args)
        is_kind = x.dtype == dtype and x.is_contiguous() != channels_last
        return y + 0.5 if is_kind else y

    monkeypatch.setattr(launch_planes, 'affine', wrong)
    found = self_test.first_difference(torch.device(DEVICE))
    assert found.startswith(f'its normalize of {dtype}')
