# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from mmcv.cnn import build_conv_layer
from torch import nn

from mmnorm import ConvWC


@pytest.mark.parametrize('groups', [1, 2])
def test_centers_each_filter(groups):
    plain = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups)
    conv = ConvWC(4, 6, 3, stride=2, padding=1, groups=groups)
    conv.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for weights in plain.weight:
            weights -= weights.mean()
    x = torch.randn(2, 4, 7, 6)
    torch.testing.assert_close(conv(x), plain(x))


def test_the_gradient_is_centered():
    conv = ConvWC(3, 5, 3).double()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    conv(x).square().sum().backward()
    means = conv.weight.grad.mean((1, 2, 3))
    torch.testing.assert_close(means, torch.zeros_like(means))


def test_config_finds_it():
    conv = build_conv_layer(dict(type='mmnorm.ConvWC'), 3, 8, 3, bias=False)
    assert type(conv) is ConvWC
