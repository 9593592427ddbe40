# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import ConvWS


def test_gradcheck():
    conv = ConvWS(2, 3, 2).double()
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)

    def forward(weight):
        return torch.func.functional_call(conv, {'weight': weight}, (x,))

    weight = conv.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(forward, weight)


@pytest.mark.parametrize('fan_in', [1, 4])
def test_equal_weights_become_zero(fan_in):
    conv = ConvWS(fan_in, 3, 1, bias=False)
    nn.init.constant_(conv.weight, 0.25)
    y = conv(torch.rand(2, fan_in, 4, 4))
    assert not y.any()
    y.sum().backward()
    assert conv.weight.grad.isfinite().all()


def test_repr():
    assert 'eps=0.001' in repr(ConvWS(3, 8, 1, eps=1e-3))
