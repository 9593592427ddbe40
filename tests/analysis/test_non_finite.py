# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm.analysis.non_finite import first_non_finite


class Divide(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {'whole': x, 'broken': x / 0}


def test_the_first_layer_and_not_those_around_or_behind_it():
    inner = nn.Sequential(nn.ReLU(), Divide())
    model = nn.Sequential(nn.Conv2d(1, 1, 1), inner)
    x = torch.ones(1, 1, 2, 2)
    where = first_non_finite(model, lambda: model(x))
    assert where == "the output of '1.1'"
    assert not any(m._forward_hooks for m in model.modules())


def test_an_input_that_is_not_finite():
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    x = torch.full((1, 1, 2, 2), float('inf'))
    assert first_non_finite(model, lambda: model(x)) == "the input of '0'"


def test_everything_is_finite():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert first_non_finite(model, lambda: model(torch.ones(1, 1, 2, 2))) is (
        None
    )
