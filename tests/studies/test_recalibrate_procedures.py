# Copyright (c) mmnorm contributors. All rights reserved.
"""Passes with fixed statistics reach the fixed point of a small network."""

import pytest
import torch
from torch import nn

from mmnorm import BCN

TOOL = 'studies.recalibrate_procedures'


@pytest.fixture
def net() -> nn.Module:
    layers = (BCN(8, num_groups=2), nn.Conv2d(8, 8, 1), nn.ReLU())
    return nn.Sequential(*layers, BCN(8, num_groups=2))


@pytest.fixture
def batches() -> list[torch.Tensor]:
    return [3 * torch.randn(2, 8, 5, 4) + 1 for _ in range(4)]


@pytest.mark.parametrize('own', [True, False])
def test_one_pass_of_the_first_layer(module, net, batches, own):
    module.one_pass(net, batches, own)
    var, mean = torch.var_mean(torch.cat(batches), (0, 2, 3), correction=0)
    torch.testing.assert_close(net[0].bn.running_mean, mean)
    torch.testing.assert_close(net[0].bn.running_var, var)


def test_fixed_point_takes_a_pass_per_layer(module, net, batches):
    passes = []
    for _ in range(3):
        module.one_pass(net, batches, own=True)
        passes.append(module.moments(net))
    torch.testing.assert_close(passes[2], passes[1], rtol=0, atol=0)
    assert not passes[1]['3'][0].equal(passes[0]['3'][0])


def test_distance(module):
    expected = {
        name: (torch.zeros(2), torch.full((2,), 4.0)) for name in 'abc'
    }
    actual = {
        name: (torch.full((2,), mean), torch.ones(2))
        for name, mean in zip('abc', (0.2, 0.4, -2.0), strict=True)
    }
    said = module.distance(actual, expected)
    assert said == 'median layer 0.2000, worst layer 1.0000'
