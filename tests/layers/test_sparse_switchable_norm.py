# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm import SN, SSN


def test_one_set_of_statistics_is_left():
    norm, x = SSN(8), torch.randn(3, 8, 5, 4)
    norm.radius.fill_(1)
    norm.mean_weight.data += torch.tensor([0.0, 0.0, 1e-3])
    norm.var_weight.data += torch.tensor([0.0, 0.0, 1e-3])
    torch.testing.assert_close(norm(x), nn.BatchNorm2d(8)(x))


def test_checkpoint_of_the_authors_loads():
    state = {
        'weight': torch.rand(1, 8, 1, 1),
        'bias': torch.rand(1, 8, 1, 1),
        'mean_weight': torch.rand(3),
        'var_weight': torch.rand(3),
        'running_mean': torch.rand(1, 8, 1),
        'running_var': torch.rand(1, 8, 1),
        'mean_fixed': torch.tensor([1]),
        'var_fixed': torch.tensor([0]),
        'radius': torch.tensor([0.25]),
    }
    norm = SSN(8)
    norm.load_state_dict(state)
    assert norm.radius == 0.25
    torch.testing.assert_close(norm.weight, state['weight'].flatten())


def test_switchable_norm_loads():
    norm = SSN(8)
    norm.radius.fill_(0.5)
    norm.load_state_dict(SN(8).state_dict())
    assert norm.radius == 0.5
