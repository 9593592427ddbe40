# Copyright (c) mmnorm contributors. All rights reserved.
import math

import pytest
import torch
from torch import nn

from mmnorm import BCN, GN, SN, SyncBN
from mmnorm.precise import input_statistics


@pytest.fixture
def x() -> torch.Tensor:
    return 3 * torch.randn(4, 32, 6, 5, dtype=torch.float64) + 5


def update_statistics(stats: nn.Module, x: torch.Tensor) -> None:
    stats.running_mean.copy_(x.mean((0, 2, 3)))
    stats.running_var.copy_(x.var((0, 2, 3), correction=0))


@pytest.mark.parametrize(
    'norm', [BCN(32), SN(32), SyncBN(32), nn.BatchNorm2d(32)]
)
def test_units(x, norm):
    norm.double()
    stats = norm.bn if isinstance(norm, BCN) else norm
    update_statistics(stats, x)
    (result,) = input_statistics(norm, lambda: norm(x))
    assert result.mean_shift == pytest.approx(0, abs=1e-10)
    assert result.var_ratio == pytest.approx(1, rel=1e-10)
    assert not result.far_off
    stats.running_mean -= 2 * stats.running_var.sqrt()
    stats.running_var *= 8
    (result,) = input_statistics(norm, lambda: norm(x))
    assert result.mean_shift == pytest.approx(2 / math.sqrt(8), rel=1e-4)
    assert result.var_ratio == pytest.approx(1 / 8, rel=1e-4)
    assert not result.far_off
    stats.running_var *= 2
    (result,) = input_statistics(norm, lambda: norm(x))
    assert result.far_off
    stats.running_mean -= 4 * stats.running_var.sqrt()
    stats.running_var /= 16
    (result,) = input_statistics(norm, lambda: norm(x))
    assert result.var_ratio == pytest.approx(1, rel=1e-4)
    assert result.far_off


def test_running_statistics_do_not_move(x):
    norm = SyncBN(32).double().train()
    before = norm.running_mean.clone()
    input_statistics(norm, lambda: norm(x))
    assert torch.equal(norm.running_mean, before)
    assert not norm._forward_pre_hooks


def test_all_calls_of_a_layer_count(x):
    norm = nn.BatchNorm2d(32).double()
    update_statistics(norm, x)

    def forward() -> None:
        norm(x[:1])
        norm(x[1:])

    (result,) = input_statistics(norm, forward)
    assert result.mean_shift < 1e-10
    assert result.var_ratio == pytest.approx(1, rel=1e-10)


def test_norms_that_are_left_out(x):
    model = nn.ModuleDict(
        dict(
            gn=GN(32),
            sn=SN(32, use_bn=False),
            empty=BCN(32),
            idle=BCN(32),
            few=BCN(32),
            one=BCN(32),
        )
    ).double()

    def forward() -> None:
        for name in ('gn', 'sn', 'one'):
            model[name](x)
        model['empty'](x[:0])
        model['few'](x[..., :1, :1])

    assert [s.name for s in input_statistics(model, forward)] == ['one']


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_statistics_that_are_not_finite_are_far_off(x, value):
    norm = nn.BatchNorm2d(32).double()
    norm.running_var.fill_(value)
    (result,) = input_statistics(norm, lambda: norm(x))
    assert result.far_off
