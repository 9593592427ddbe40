# Copyright (c) mmnorm contributors. All rights reserved.
import math

import pytest
import torch
from torch import nn

from mmnorm import BCN, BN, GN, SN, SSN, fuse_norm_act
from mmnorm.analysis.norm_stats import NormStats
from tests.layers.cases import LAYERS, make_layer


def stats_of(norm: nn.Module, *batches: torch.Tensor) -> dict[str, float]:
    model = nn.Sequential(norm)
    stats = NormStats(model)
    for x in batches:
        model(x)
    (numbers,) = stats.finish().values()
    model(batches[0])  # nothing is added any more
    assert not norm._forward_hooks
    return numbers


def test_batch_norm_has_no_distance_from_itself():
    norm = make_layer('BN')
    x = torch.randn(4, 8, 16, 16, dtype=torch.float64)
    numbers = stats_of(norm, x)
    assert numbers['bn_mean'] == pytest.approx(0, abs=1e-9)
    assert numbers['bn_std'] == pytest.approx(0, abs=1e-4)  # eps


def test_numbers_are_those_of_the_formulas_over_several_batches():
    norm = make_layer('GN')
    batches = [torch.randn(2, 8, 5, 6).double() + 1 for _ in range(3)]
    batches.append(torch.randn(1, 8, 9, 4).double())
    numbers = stats_of(norm, *batches)
    flat = torch.cat([norm(x).transpose(0, 1).flatten(1) for x in batches], 1)
    size = norm.weight.abs()
    distance = (flat.mean(1) - norm.bias).abs() / size
    ratio = (flat.std(1, correction=0) / size).log().abs()
    assert numbers['bn_mean'] == pytest.approx(distance.mean().item())
    assert numbers['bn_std'] == pytest.approx(ratio.mean().item())
    assert 'gap_mean' not in numbers


def test_dead_channels():
    norm = GN(8, 1).double()
    norm.bias.data[:3] = -100
    x = torch.randn(4, 8, 40, 40).double()
    assert stats_of(norm, x)['dead'] == 3 / 8


def test_gap_between_batch_and_running_statistics():
    norm = nn.BatchNorm2d(8).double().eval()
    norm.running_mean += 1
    norm.running_var *= 4
    x = torch.randn(8, 8, 40, 40).double()
    numbers = stats_of(norm, x)
    assert numbers['gap_mean'] == pytest.approx(1 / 2, rel=0.05)
    assert numbers['gap_std'] == pytest.approx(math.log(2), rel=0.05)


def test_a_weight_of_zero_has_no_distance():
    norm = GN(8, 4).double()
    norm.weight.data.zero_()
    numbers = stats_of(norm, torch.randn(2, 8, 4, 4).double())
    assert (numbers['bn_mean'], numbers['bn_std']) == (0, 0)


def test_shares_of_switchable_norms():
    norm = SN(8)
    norm.mean_weight.data = torch.tensor([0.0, 1.0, 2.0])
    numbers = stats_of(norm, torch.randn(2, 8, 4, 4))
    shares = [numbers[f'mean_{k}'] for k in ('in', 'ln', 'bn')]
    expected = norm.mean_weight.softmax(0).tolist()
    assert shares == pytest.approx(expected)
    sparse = SSN(8, use_bn=False)
    sparse.radius.fill_(1)
    sparse.var_weight.data[0] += 0.1
    numbers = stats_of(sparse, torch.randn(2, 8, 4, 4))
    assert (numbers['var_in'], numbers['var_ln']) == (1, 0)
    assert 'var_bn' not in numbers


def test_an_activation_in_the_norm_leaves_no_distance(monkeypatch):
    model = nn.Sequential(BN(8), nn.ReLU())
    fuse_norm_act(model)
    stats = NormStats(model)
    model(torch.randn(2, 8, 9, 9))
    (numbers,) = stats.finish().values()
    assert set(numbers) == {'dead', 'gap_mean', 'gap_std'}


def test_the_child_of_a_norm_and_a_norm_that_did_not_run_are_left_out():
    model = nn.Sequential(BCN(8, 4), nn.BatchNorm2d(8))
    stats = NormStats(model)
    model[0](torch.randn(2, 8, 4, 4))
    assert list(stats.finish()) == ['0']


@pytest.mark.parametrize('name', LAYERS)
def test_every_layer_has_finite_numbers(name):
    layer = make_layer(name)
    for shape in ((0, 8, 4, 4), (2, 8, 4, 5), (1, 8, 1, 1)):
        stats = NormStats(nn.Sequential(layer))
        layer(torch.randn(shape, dtype=torch.float64))
        for numbers in stats.finish().values():
            assert all(math.isfinite(value) for value in numbers.values())


def test_forwards_of_a_validation_do_not_count():
    model = nn.Sequential(nn.BatchNorm2d(2))
    stats, x = NormStats(model), torch.randn(4, 2, 5, 5)
    model(x)
    stats.counts = False
    model.eval()(x + 100)
    (numbers,) = stats.finish().values()
    assert numbers['bn_mean'] < 1e-5
