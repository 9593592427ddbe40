# Copyright (c) mmnorm contributors. All rights reserved.
"""Which backend is chosen, and what is said where it cannot be had."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from mmnorm import GN
from mmnorm.functional import backend, torch_ops

X = torch.rand(2, 4, 3, 3)
CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='is about tensors on a GPU'
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv('MMNORM_BACKEND', raising=False)
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)


@pytest.mark.parametrize('choice', [None, 'torch'])
def test_cpu_has_torch_operators(monkeypatch, choice):
    if choice:
        monkeypatch.setenv('MMNORM_BACKEND', choice)
    assert backend.backend_of(X) is torch_ops


@CUDA
def test_gpu_has_kernels_unless_told_otherwise(monkeypatch):
    x = X.cuda()
    assert backend.backend_of(x).__name__.endswith('kernels.passes')
    assert backend.backend_of(x.double()) is torch_ops
    monkeypatch.setenv('MMNORM_BACKEND', 'torch')
    assert backend.backend_of(x) is torch_ops


def broken(kernels: str, *args) -> object:
    if kernels == 'raise':
        raise RuntimeError('no compiler\nand more')
    return float(kernels)


@pytest.mark.parametrize(
    'proof, reason',
    [
        ('raise', r'\(RuntimeError: no compiler\)'),
        ('0.5', 'off by 0.5'),
        ('nan', 'off by nan'),
    ],
)
def test_kernels_that_do_not_work(monkeypatch, proof, reason):
    # Such as on a GPU that no one has tried.
    broken_proof = SimpleNamespace(largest_error=partial(broken, proof))
    monkeypatch.setattr(backend, '_module', lambda name: broken_proof)
    with pytest.warns(UserWarning, match=f'on cpu .*{reason}'):
        assert not backend._works.__wrapped__(torch.device('cpu'))


def test_kernels_that_work(monkeypatch):
    proof = SimpleNamespace(largest_error=lambda device: 1e-5)
    monkeypatch.setattr(backend, '_module', lambda name: proof)
    assert backend._works.__wrapped__(torch.device('cpu'))


def test_gpu_whose_kernels_do_not_work(monkeypatch):
    monkeypatch.setattr(backend, '_works', lambda device: False)
    on_gpu = SimpleNamespace(is_cuda=True, device='cuda:0')
    assert backend.backend_of(on_gpu) is torch_ops


@pytest.mark.parametrize('layer', [GN(4, 2), GN(4, 2).half()])
def test_unknown_value(monkeypatch, layer):
    monkeypatch.setenv('MMNORM_BACKEND', 'cuda')
    message = "MMNORM_BACKEND is 'cuda', .* one of torch, triton"
    with pytest.raises(ValueError, match=message):
        layer(X.to(layer.weight.dtype))


def test_triton_on_cpu(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    with pytest.raises(ValueError, match='this one is on cpu: unset'):
        GN(4, 2)(X)


def test_triton_not_installed(monkeypatch):
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    monkeypatch.setattr(backend, '_module', lambda name: None)
    with pytest.raises(ValueError, match='pip install triton'):
        GN(4, 2)(X)


def test_runs_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None; "
        'import torch, mmnorm; from mmnorm.functional import backend; '
        'mmnorm.SN(4)(torch.rand(2, 4, 3, 3)).sum().backward(); '
        "assert backend._module('passes') is None"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
