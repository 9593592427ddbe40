# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from mmcv.cnn.bricks.conv_ws import ConvWS2d
from torch import nn

from mmnorm import ConvWS


@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=1, bias=False),
        dict(kernel_size=3, stride=2, dilation=2, groups=2),
        dict(kernel_size=(3, 1), padding=(1, 0), eps=0.1),
    ],
    ids=str,
)
def test_equals_mmcv(options):
    theirs = ConvWS2d(4, 6, **options).double()
    ours = ConvWS(4, 6, **options).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, expected = ours(x), theirs(twin)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-10, atol=1e-10)
    for parameter, other in zip(
        ours.parameters(), theirs.parameters(), strict=True
    ):
        torch.testing.assert_close(
            parameter.grad, other.grad, rtol=1e-10, atol=1e-10
        )


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


def test_bare_name_stays_that_of_mmcv():
    from mmcv.cnn import build_conv_layer

    assert type(build_conv_layer(dict(type='ConvWS'), 3, 8, 1)) is ConvWS2d
    ours = build_conv_layer(dict(type='mmnorm.ConvWS'), 3, 8, 1)
    assert type(ours) is ConvWS
