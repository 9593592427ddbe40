# Copyright (c) mmnorm contributors. All rights reserved.
"""Small networks, and a check of what folding does to them."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmnorm.deploy.fold import Folds, fold
from tests.models import randomize

C = 8


def make(*modules: nn.Module) -> nn.Module:
    return randomize(nn.Sequential(*modules)).double().eval()


def conv(cls: type = nn.Conv2d) -> nn.Module:
    return cls(C, C, 3, padding=1)


def images(channels: int = C) -> Tensor:
    return torch.randn(2, channels, 9, 11, dtype=torch.float64)


@torch.no_grad()
def assert_folds(model: nn.Module, *inputs: Tensor) -> tuple[nn.Module, Folds]:
    """Fold a copy, compare it with the model, and return it."""
    folded = copy.deepcopy(model)
    folds = fold(folded, *inputs)
    torch.testing.assert_close(
        folded(*inputs), model(*inputs), rtol=1e-10, atol=1e-10
    )
    return folded, folds


class Net(nn.Module):
    """A network of modules that a function calls."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.call = forward
        for name, module in modules.items():
            self.add_module(name, module)
        randomize(self).double().eval()

    def forward(self, x: Tensor) -> object:
        return self.call(self, x)
