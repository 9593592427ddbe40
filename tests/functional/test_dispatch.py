# Copyright (c) mmnorm contributors. All rights reserved.
"""Dispatch chooses a backend, or says what the backend lacks."""

import subprocess
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from mmnorm import GN
from mmnorm.functional import dispatch, torch_ops

X = torch.rand(2, 4, 3, 3)
CPU = torch.device('cpu')
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv('MMNORM_BACKEND', raising=False)
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(dispatch, '_agreed', {})


@pytest.fixture
def has_triton(monkeypatch):
    monkeypatch.setattr(dispatch, '_missing_triton', lambda: None)


@pytest.mark.parametrize('choice', [None, 'torch'])
def test_cpu_has_torch_operators(monkeypatch, choice):
    if choice:
        monkeypatch.setenv('MMNORM_BACKEND', choice)
    assert dispatch.ops_for(X) is torch_ops


@needs_gpu
def test_gpu_has_kernels_by_default(monkeypatch):
    x = X.cuda()
    assert dispatch.ops_for(x).__name__.endswith('triton.launch_planes')
    assert dispatch.ops_for(x.double()) is torch_ops
    monkeypatch.setenv('MMNORM_BACKEND', 'torch')
    assert dispatch.ops_for(x) is torch_ops


def fake_self_test(answer: object) -> SimpleNamespace:
    """Return a module whose self-test returns an answer, or raises it."""

    def first_difference(device: torch.device) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(first_difference=first_difference)


@pytest.mark.parametrize(
    'answer, reason',
    [
        (RuntimeError('no compiler\nand more'), 'RuntimeError: no compiler'),
        (TypeError('jit() got an unexpected keyword'), 'TypeError: jit'),
        ('its affine is off by 0.5', 'its affine is off by 0.5'),
    ],
)
def test_warns_of_kernels_that_do_not_agree(
    monkeypatch, has_triton, answer, reason
):
    # There are GPUs that nobody has tried.
    module = fake_self_test(answer)
    monkeypatch.setattr(dispatch, '_module', lambda name: module)
    with pytest.warns(UserWarning, match=f'on cpu.*: {reason}'):
        assert not dispatch._agree(CPU)
    with warnings.catch_warnings():  # the warning comes once
        warnings.simplefilter('error')
        assert not dispatch._agree(CPU)


def test_uses_kernels_that_agree(monkeypatch, has_triton):
    module = fake_self_test(None)
    monkeypatch.setattr(dispatch, '_module', lambda name: module)
    assert dispatch._agree(CPU)


def test_warns_of_an_old_triton(monkeypatch):
    monkeypatch.setitem(
        sys.modules, 'triton', SimpleNamespace(__version__='2.1.0')
    )
    monkeypatch.setattr(
        dispatch, '_missing_triton', dispatch._missing_triton.__wrapped__
    )
    with pytest.warns(UserWarning, match='triton 2.1.0 .* need 3.0'):
        assert not dispatch._agree(CPU)


def test_gpu_without_agreement_has_torch_operators(monkeypatch):
    monkeypatch.setattr(dispatch, '_agree', lambda device: False)
    on_gpu = SimpleNamespace(is_cuda=True, device='cuda:0')
    assert dispatch.ops_for(on_gpu) is torch_ops


def test_no_self_test_while_a_graph_is_captured(monkeypatch, has_triton):
    capturing = [True]
    monkeypatch.setattr(
        torch.cuda, 'is_current_stream_capturing', lambda: capturing[0]
    )
    tested = []
    monkeypatch.setattr(
        dispatch, '_passes_self_test', lambda d: tested.append(d) or True
    )
    device = torch.device('cuda', 0)
    assert not dispatch._agree(device)
    assert not tested
    capturing[0] = False
    assert dispatch._agree(device)
    assert tested == [device]


def test_forced_backend_needs_no_device(monkeypatch, has_triton):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    with dispatch.forced('torch'):
        assert dispatch.ops_for(X) is torch_ops
    with pytest.raises(ValueError, match='this one is on cpu'):
        dispatch.ops_for(X)


@pytest.mark.parametrize('layer', [GN(4, 2), GN(4, 2).half()])
def test_unknown_value(monkeypatch, layer):
    monkeypatch.setenv('MMNORM_BACKEND', 'cuda')
    message = "MMNORM_BACKEND is 'cuda', .* one of torch, triton"
    with pytest.raises(ValueError, match=message):
        layer(X.to(layer.weight.dtype))


def test_triton_on_cpu(monkeypatch, has_triton):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    with pytest.raises(ValueError, match='this one is on cpu: unset'):
        GN(4, 2)(X)


def test_triton_not_installed(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    missing = partial(str, 'the package triton is not installed')
    monkeypatch.setattr(dispatch, '_missing_triton', missing)
    with pytest.raises(ValueError, match='pip install triton'):
        GN(4, 2)(X)


def test_runs_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None; "
        'import torch, mmnorm; from mmnorm.functional import dispatch; '
        'mmnorm.SN(4)(torch.rand(2, 4, 3, 3)).sum().backward(); '
        "assert 'not installed' in dispatch._missing_triton()"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
