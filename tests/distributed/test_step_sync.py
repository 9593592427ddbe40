# Copyright (c) mmnorm contributors. All rights reserved.
"""One reduction a step for the estimates of a whole network."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmnorm import BCN, StepSync, SyncBN
from tests.layers.cases import assert_same, loss_of, make_input

from .test_sync import counted


def build(sync: bool | str, **options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        BCN(8, 4, sync=sync, **options),
        nn.Conv2d(8, 16, 1),
        BCN(16, 4, sync=sync, **options),
    ).double()


def estimates(network: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(network.named_buffers()))


def first_layer_moves_alike(rank: int) -> int:
    # What the first layer sees does not depend on any estimate, so after a
    # step both kinds have moved its estimates to the same place.
    steps, every = build('step'), build(True)
    synchronize = StepSync(steps)
    for seed in range(3):
        x = make_input((rank + 1, 3, 6, 5), 7 * rank + seed).detach()
        before = estimates(steps)
        y = steps(x)
        assert_same(estimates(steps), before, 0)
        assert_same({'y': copy.deepcopy(steps).eval()(x)}, {'y': y}, 1e-12)
        with counted() as sizes:
            synchronize()
        assert sizes == [2 * 8 + 1 + 2 * 16 + 1]
        every(x)
        assert_same(estimates(steps[1]), estimates(every[1]), 1e-12)
    return 1


def test_estimates_are_those_of_every_process(ranks):
    assert ranks(2).run(first_layer_moves_alike) == [1, 1]


def survives_what_happens_between_steps(rank: int) -> dict:
    network = build('step')
    synchronize = StepSync(network)
    x = make_input((1, 3, 6, 5), rank)
    # Two forwards in a step, one of them run again in backward, an
    # evaluation in between, and a process that has nothing to show.
    loss = checkpoint(lambda x: loss_of(network(x)), x, use_reentrant=False)
    network.eval()(x)
    network.train()
    network(x[:rank])
    loss.backward()
    synchronize()
    return estimates(network)


def test_survives_what_happens_between_steps(ranks):
    first, second = ranks(2).run(survives_what_happens_between_steps)
    assert_same(first, second, 0)
    network = build('step')
    synchronize = StepSync(network)
    zero, one = (make_input((1, 3, 6, 5), rank) for rank in range(2))
    for x in (zero, one, one):
        network(x)
    synchronize()
    assert_same(first, estimates(network), 1e-12)


def test_runs_on_one_process():
    network = build('step')
    synchronize = StepSync(network)
    network(make_input((2, 3, 6, 5)))
    synchronize()
    assert network[1].bn.num_batches_tracked == 1
    before = estimates(network)
    synchronize()  # a step that saw nothing
    assert_same(estimates(network), before, 0)


def test_not_finite_sums_are_dropped():
    network = build('step')
    synchronize = StepSync(network)
    before = estimates(network)
    network(torch.full((1, 3, 5, 5), float('inf'), dtype=torch.float64))
    synchronize()
    assert_same(estimates(network), before, 0)
    network(make_input((1, 3, 5, 5)))
    synchronize()
    assert network[1].bn.num_batches_tracked == 1


def test_frozen_statistics_stay():
    network = build('step')
    synchronize = StepSync(network)
    network[1].bn.eval()
    network(make_input((1, 3, 5, 5)))
    synchronize()
    assert network[1].bn.num_batches_tracked == 0
    assert network[3].bn.num_batches_tracked == 1


def test_exception():
    with pytest.raises(RuntimeError, match='mmnorm.StepSyncHook'):
        build('step')(make_input((1, 3, 5, 5)))
    with pytest.raises(ValueError, match="sync='step' with estimate=False"):
        BCN(8, 4, estimate=False, sync='step')
    with pytest.raises(ValueError, match="sync='often'"):
        BCN(8, 4, sync='often')
    StepSync(nn.Sequential(SyncBN(8)))()  # no such layer: nothing to do
