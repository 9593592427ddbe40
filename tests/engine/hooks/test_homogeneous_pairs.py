# Copyright (c) mmnorm contributors. All rights reserved.
"""Pairs are found where channels can be scaled, and nowhere else."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmnorm import GN, ConvWS
from mmnorm.engine.hooks.homogeneous_pairs import find_pairs, num_outputs
from mmnorm.engine.hooks.scale_pair import balance, scale


class Net(nn.Module):
    """A network of modules that a function calls."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.call = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def conv(*options, cls=nn.Conv2d, **keywords) -> nn.Module:
    return cls(*(options or (4, 4, 3)), **keywords)


def texts(model: nn.Module, size: int = 9) -> list[str]:
    """Return the pairs as text, after a check that they keep the function."""
    model = model.double()
    x = torch.randn(2, 4, size, size, dtype=torch.float64)
    pairs = find_pairs(model, [model(x).sum()])
    for change in (scale, balance):
        twin = copy.deepcopy(model)
        for pair in pairs:
            first = twin.get_submodule(pair.first)
            number = torch.rand(num_outputs(first)).double() + 0.5
            change(twin, pair, number if change is scale else 1.1)
        torch.testing.assert_close(twin(x), model(x), rtol=1e-10, atol=1e-10)
        for (name, p), q in zip(
            model.named_parameters(), twin.parameters(), strict=True
        ):
            if any(name == f'{pair.first}.weight' for pair in pairs):
                assert not torch.equal(p, q)
    return [str(pair) for pair in pairs]


def test_relu():
    model = nn.Sequential(conv(), nn.ReLU(inplace=True), conv(4, 6, 1))
    assert texts(model) == ['0 -> 2']


def test_nothing_in_between():
    assert texts(nn.Sequential(conv(), conv(bias=False))) == ['0 -> 1']


@pytest.mark.parametrize(
    'between',
    [
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(5),
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=2, mode='bilinear'),
        nn.Identity(),
    ],
    ids=str,
)
def test_homogeneous(between):
    model = nn.Sequential(conv(), nn.ReLU(), between, conv())
    assert texts(model) == ['0 -> 3']


@pytest.mark.parametrize(
    'between',
    [
        nn.Sigmoid(),
        nn.GELU(),
        nn.BatchNorm2d(4),
        GN(4, 2),
        nn.Softmax(1),
        nn.PReLU(),
        nn.Hardtanh(),
    ],
    ids=str,
)
def test_not_homogeneous(between):
    assert texts(nn.Sequential(conv(), between, conv())) == []


def test_groups():
    model = nn.Sequential(
        conv(4, 8, 1, groups=2),
        nn.ReLU(),
        conv(8, 8, 3, groups=8),
        nn.ReLU(),
        conv(8, 6, 1, groups=2),
    )
    assert texts(model) == ['0 -> 2', '2 -> 4']


def test_transposed():
    up = nn.ConvTranspose2d
    model = nn.Sequential(
        conv(4, 6, 1),
        nn.ReLU(),
        up(6, 8, 2, 2, groups=2),
        nn.ReLU(),
        up(8, 4, 2, 2, groups=4),
        nn.ReLU(),
        conv(4, 3, 1),
    )
    assert texts(model) == ['0 -> 2', '2 -> 4', '4 -> 6']


def test_flattened():
    model = nn.Sequential(
        conv(4, 6, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 81, 7),
        nn.ReLU(),
        nn.Linear(7, 2, bias=False),
    )
    assert texts(model) == ['0 -> 3', '3 -> 5']


def test_two_readers_count_as_one():
    def forward(self, x):
        x = self.a(x).relu()
        return self.b(x).sum((1, 2, 3)) + self.c(x).sum((1, 2, 3))

    model = Net(forward, a=conv(), b=conv(), c=conv(4, 2, 1))
    assert texts(model) == ['a -> b, c']
    pairs = find_pairs(model, [model(torch.randn(1, 4, 5, 5).double()).sum()])
    balance(model, pairs[0], 1.0)
    both = torch.cat(
        [
            model.b.weight.transpose(0, 1).flatten(1).T,
            model.c.weight.transpose(0, 1).flatten(1).T,
        ]
    )
    torch.testing.assert_close(
        both.norm(dim=0), model.a.weight.flatten(1).norm(dim=1)
    )


def test_shared_by_levels():
    def forward(self, x):
        return sum(
            self.b(self.a(level).relu()).sum() for level in (x, x[..., ::2])
        )

    assert texts(Net(forward, a=conv(), b=conv())) == ['a -> b']


def test_two_sources():
    def forward(self, x):
        return self.c(self.a(x).relu()) + self.c(self.b(x).relu())

    assert texts(Net(forward, a=conv(), b=conv(), c=conv())) == []


def test_sum_and_concatenation():
    def add(self, x):
        return self.b(self.a(x) + x[..., 1:-1, 1:-1])

    def join(self, x):
        return self.b(torch.cat([self.a(x), x[..., 1:-1, 1:-1]], 1))

    assert texts(Net(add, a=conv(), b=conv())) == []
    assert texts(Net(join, a=conv(), b=conv(8, 4, 1))) == []


def test_another_reader():
    def forward(self, x):
        y = self.a(x)
        return self.b(y.relu()).sum() + y.sigmoid().sum()

    assert texts(Net(forward, a=conv(), b=conv())) == []


def test_output():
    def forward(self, x):
        y = self.a(x).relu()
        return self.b(y), y

    model = Net(forward, a=conv(), b=conv())
    assert find_pairs(model, model(torch.rand(1, 4, 9, 9))) == []


def test_recurrent():
    def forward(self, x):
        return self.a(self.a(x).relu())

    assert texts(Net(forward, a=conv())) == []


def test_computed_weights():
    plain, ws = conv(), conv(cls=ConvWS)
    assert texts(nn.Sequential(plain, nn.ReLU(), ws)) == []
    assert texts(nn.Sequential(ws, nn.ReLU(), plain)) == []
    spectral = nn.utils.parametrizations.spectral_norm(conv())
    assert texts(nn.Sequential(spectral, nn.ReLU(), conv())) == []


def test_weight_with_another_use():
    def forward(self, x):
        return self.b(self.a(x)).sum() + self.a.weight.sigmoid().sum()

    assert texts(Net(forward, a=conv(), b=conv())) == []


@pytest.mark.parametrize('frozen', [0, 2])
def test_frozen(frozen):
    model = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
    model[frozen].weight.requires_grad_(False)
    assert texts(model) == (['2 -> 4'] if frozen == 0 else [])


def test_last():
    model = nn.Sequential(conv(), conv(), nn.BatchNorm2d(4), conv(), conv())
    pairs = find_pairs(model, [model(torch.rand(1, 4, 9, 9)).sum()])
    assert [(str(p), p.is_last) for p in pairs] == [
        ('0 -> 1', False),
        ('3 -> 4', True),
    ]
