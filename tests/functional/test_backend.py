# Copyright (c) mmnorm contributors. All rights reserved.
"""Which backend is chosen, and what is said where it cannot be had."""

import subprocess
import sys

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
def test_gpu_has_kernels_when_asked_for(monkeypatch):
    x = X.cuda()
    assert backend.backend_of(x) is torch_ops
    monkeypatch.setenv('MMNORM_BACKEND', 'triton')
    assert backend.backend_of(x).__name__.endswith('triton_ops')
    assert backend.backend_of(x.double()) is torch_ops


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
    monkeypatch.setattr(backend, '_triton_ops', lambda: None)
    with pytest.raises(ValueError, match='pip install triton'):
        GN(4, 2)(X)


def test_runs_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None; "
        'import torch, mmnorm; from mmnorm.functional import backend; '
        'mmnorm.SN(4)(torch.rand(2, 4, 3, 3)).sum().backward(); '
        'assert backend._triton_ops() is None'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
