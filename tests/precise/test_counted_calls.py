# Copyright (c) mmnorm contributors. All rights reserved.
"""The calls of norms that count for the exact statistics."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmnorm import BCN, SyncBN
from mmnorm.precise.exact_statistics import recalibrate
from tests import reference
from tests.layers.cases import assert_same

from .networks import (
    NORMS,
    build,
    make_batches,
    scrambled,
    statistics,
    stats_of,
)


@pytest.mark.parametrize('name', NORMS)
def test_batches_that_are_not_finite_do_not_count(name):
    net, batches = build(name), make_batches(4)
    bad = batches[0].clone()
    bad[0, 0, 0, 0] = float('inf')
    other = copy.deepcopy(net)
    recalibrate(net, [bad, *batches[:2], bad, *batches[2:]])
    recalibrate(other, batches)
    assert_same(statistics(net), statistics(other), 0)


class Finite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.nan_to_num(0, 0, 0)


def test_old_statistics_do_not_enter_after_a_bad_batch():
    nets = []
    for seed in range(2):
        net = build('BCN estimate', 2)
        net[2] = Finite()
        net[4] = SyncBN(8).double()
        nets.append(scrambled(net, seed))
    bad, *others = make_batches(3, images=3)
    bad[0] = float('inf')
    for net in nets:
        recalibrate(net, [bad, *others])
    assert_same(statistics(nets[0]), statistics(nets[1]), 0)


class Heads(nn.Module):
    def __init__(self, norm: Callable) -> None:
        super().__init__()
        self.rois, self.idle = norm(8), norm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.rois(x)


@pytest.mark.parametrize('name', ['SyncBN', 'SN', 'BCN batch', 'BCN estimate'])
def test_norms_without_input(name):
    net = scrambled(Heads(NORMS[name]).double())
    before = statistics(net)
    rois = [torch.rand(n, 8, 3, 3).double() for n in (0, 2, 0, 3)]
    with pytest.warns(UserWarning, match='keep their statistics: idle$'):
        changes = recalibrate(net, rois)
    assert list(changes) == ['rois']
    after = statistics(net)
    for key, value in before.items():
        assert after[key].equal(value) == key.startswith('idle')
    values = reference.all_values(rois)
    torch.testing.assert_close(
        stats_of(net.rois).running_mean, values.mean(1), rtol=0, atol=1e-12
    )
    with pytest.warns(UserWarning, match='statistics: rois, idle$'):
        recalibrate(net, rois[:1])
    assert_same(statistics(net), after, 0)


def test_one_value_per_channel_counts_as_in_training():
    # In the pooling branch of DeepLab, a norm of batch statistics is trained
    # with running statistics that never move.
    pixels = [torch.rand(1, 8, 1, 1).double() for _ in range(4)]
    for name in ('SyncBN', 'SN', 'BCN batch'):
        net = nn.Sequential(NORMS[name](8).double())
        before = statistics(net)
        with pytest.warns(UserWarning, match='keep their statistics: 0$'):
            assert recalibrate(net, pixels) == {}
        assert_same(statistics(net), before, 0)
    net = nn.Sequential(BCN(8, 4).double())
    recalibrate(net, pixels)
    values = torch.cat(pixels)[..., 0, 0]
    bn = net[0].bn
    torch.testing.assert_close(bn.running_mean, values.mean(0))
    torch.testing.assert_close(bn.running_var, values.var(0, correction=0))
