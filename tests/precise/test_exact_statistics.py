# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics recalibrated over batches, against plain formulas."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmnorm import BCN, SN, SyncBN
from mmnorm.precise.exact_statistics import StatisticsChange, recalibrate
from tests import reference
from tests.distributed.test_sync import record_all_reduces
from tests.layers.cases import assert_same

from .networks import (
    NORMS,
    build,
    make_batches,
    scrambled,
    statistics,
    stats_of,
)

POOLED = ['SyncBN', 'SN', 'BCN batch', 'BCN estimate']


def set_statistics(stats: nn.Module, xs: list[Tensor], unbiased: bool) -> None:
    values = reference.all_values(xs)
    stats.running_mean.copy_(values.mean(1))
    stats.running_var.copy_(values.var(1, correction=int(unbiased)))


def formula_of(layer: nn.Module) -> Callable[[Tensor, list[Tensor]], Tensor]:
    """Return a layer's formula in training; BCN takes all batches so far."""
    frozen = copy.deepcopy(layer)  # the references move its statistics

    def normalize(x: Tensor, so_far: list[Tensor]) -> Tensor:
        if isinstance(layer, BCN) and layer.estimate:
            set_statistics(frozen.bn, so_far, unbiased=False)
            frozen.bn.eval()
            return reference.bcn(frozen, [x])[0]
        if isinstance(layer, BCN):
            return reference.bcn(frozen, [x])[0]
        if isinstance(layer, SN):
            return reference.sn(frozen, [x])[0]
        return reference.sync_bn(frozen, [x])[0]

    return normalize


@torch.no_grad()
def expected(net: nn.Sequential, batches: list[Tensor]) -> dict[str, Tensor]:
    """Compute the statistics layer by layer, over all batches at once."""
    net = copy.deepcopy(net)
    xs = batches
    for layer in net:
        if not isinstance(layer, (nn.Conv2d, nn.ReLU)):
            biased = isinstance(layer, SN) or getattr(layer, 'estimate', False)
            normalize = formula_of(layer)
            set_statistics(stats_of(layer), xs, not biased)
            xs = [normalize(x, xs[: i + 1]) for i, x in enumerate(xs)]
        else:
            xs = [layer(x) for x in xs]
    return statistics(net)


@pytest.mark.parametrize('name', NORMS)
def test_equals_the_plain_formula(name):
    net, batches = build(name), make_batches(7)
    recalibrated = copy.deepcopy(net)
    changes = recalibrate(recalibrated, batches)
    assert_same(statistics(recalibrated), expected(net, batches))
    assert list(changes) == ['1', '4', '7']
    for change in changes.values():
        assert isinstance(change, StatisticsChange)


@pytest.mark.parametrize('name', NORMS)
def test_scrambled_statistics_are_repaired(name):
    net, batches = build(name), make_batches(5)
    broken = scrambled(net, seed=3)
    stats_of(broken[1]).running_var.fill_(float('nan'))
    for each in (net, broken):
        recalibrate(each, batches)
    assert_same(statistics(broken), statistics(net), 0)


def test_estimates_standardize_in_evaluation():
    # In evaluation, the batch part of every layer has to give mean 0 and
    # variance 1.
    net, batches = build('BCN estimate', 5), make_batches(300)
    recalibrate(net, batches)
    xs = batches
    for layer in net.eval():
        if isinstance(layer, BCN):
            values = reference.all_values(xs)
            std = layer.bn.running_var.sqrt()
            off = (values.mean(1) - layer.bn.running_mean) / std
            assert off.abs().max() < 0.02
            assert (values.std(1) / std - 1).abs().max() < 0.02
        xs = [layer(x).detach() for x in xs]


def ragged(rank: int, batches: list[Tensor]) -> list[Tensor]:
    """Give the first image to one rank, and the rest to the other rank."""
    return [batch[:1] if rank == 0 else batch[1:] for batch in batches]


def recalibrated_on(rank: int, name: str, batches: list[Tensor]) -> dict:
    net = build(name)
    recalibrate(net, ragged(rank, batches))
    return statistics(net)


@pytest.mark.parametrize('name', POOLED)
def test_two_ragged_processes_equal_one(ranks, name):
    # Some batches have one image, so rank 1 has none of them.
    batches = make_batches(6, images=1)
    first, second = ranks(2).run(recalibrated_on, name, batches)
    assert_same(first, second, 0)
    net = build(name)
    recalibrate(net, batches)
    assert_same(first, statistics(net), 1e-10)


@pytest.mark.parametrize('name', ['BatchNorm', 'BCN step'])
def test_norms_without_synchronization_end_equal(ranks, name):
    # Each process normalizes by itself, and the sums are pooled at the end.
    # The input of the first norm does not depend on the processes.
    batches = make_batches(6, images=2)
    first, second = ranks(2).run(recalibrated_on, name, batches)
    assert_same(first, second, 0)
    net = build(name)
    recalibrate(net, batches)
    norm = {k: v for k, v in statistics(net).items() if k.startswith('1.')}
    assert_same({key: first[key] for key in norm}, norm, 1e-10)


def number_of_all_reduces(rank: int, name: str, batches: list[Tensor]) -> int:
    with record_all_reduces() as sizes:
        recalibrate(build(name), ragged(rank, batches)[rank:])
    return len(sizes)


@pytest.mark.parametrize('name', ['BatchNorm', 'BCN step'])
def test_processes_with_other_numbers_of_batches_do_not_wait(ranks, name):
    # Only the sums at the end are pooled. A forward that communicates would
    # wait for a batch that the other process does not have.
    seen = ranks(2).run(number_of_all_reduces, name, make_batches(3))
    assert seen == [1, 1]


def test_inputs_without_pixels():
    x = torch.randn(9, 4).double()
    for norm in (nn.BatchNorm1d(4), SyncBN(4), BCN(4, 2)):
        net = nn.Sequential(norm.double())
        recalibrate(net, [x[:4], x[4:]])
        torch.testing.assert_close(stats_of(norm).running_mean, x.mean(0))


def test_norms_without_running_statistics_are_skipped():
    for norm in (
        nn.BatchNorm2d(3, track_running_stats=False),
        SN(3, use_bn=False),
    ):
        assert recalibrate(norm.double(), make_batches(1)) == {}


def test_change_is_reported():
    net = nn.Sequential(nn.BatchNorm2d(2, eps=1e-9))
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 2, 500, 1)
    net[0].running_mean.fill_(3)
    net[0].running_var.fill_(4)
    ((name, change),) = recalibrate(net, [x]).items()
    assert name == '0'
    assert change.mean == pytest.approx(3, rel=1e-3)
    assert change.std == pytest.approx(2, rel=1e-3)
    ((_, change),) = recalibrate(net, [x]).items()
    assert change == pytest.approx((0, 1))


def test_no_batch():
    net = build('SyncBN')
    before = statistics(net)
    with pytest.raises(ValueError, match='there is no batch'):
        recalibrate(net, [])
    assert_same(statistics(net), before, 0)
