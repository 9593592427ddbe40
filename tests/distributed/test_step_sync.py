# Copyright (c) mmnorm contributors. All rights reserved.
"""One all-reduce per step serves the estimates of a whole network."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmnorm import BCN, StepSync, SyncBN
from tests.layers.cases import assert_same, make_input, uneven_loss

from .test_sync import record_all_reduces


def build(sync: bool | str, **options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        BCN(8, 4, sync=sync, **options),
        nn.Conv2d(8, 16, 1),
        BCN(16, 4, sync=sync, **options),
    ).double()


def copy_estimates(network: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(network.named_buffers()))


def check_estimates_of_first_layer(rank: int) -> bool:
    # The input of the first layer depends on no estimate. After each step,
    # the first layer has the same estimates as with one all-reduce per layer.
    step_network, layer_network = build('step'), build(True)
    synchronize = StepSync(step_network)
    for seed in range(3):
        x = make_input((rank + 1, 3, 6, 5), 7 * rank + seed).detach()
        before = copy_estimates(step_network)
        y = step_network(x)
        assert_same(copy_estimates(step_network), before, 0)
        in_eval = copy.deepcopy(step_network).eval()
        assert_same({'y': in_eval(x)}, {'y': y}, 1e-12)
        with record_all_reduces() as sizes:
            synchronize()
        assert sizes == [2 * 8 + 1 + 2 * 16 + 1]
        layer_network(x)
        assert_same(
            copy_estimates(step_network[1]),
            copy_estimates(layer_network[1]),
            1e-12,
        )
    return True


def test_estimates_are_those_of_every_process(ranks):
    assert ranks(2).run(check_estimates_of_first_layer) == [True, True]


def run_irregular_step(rank: int) -> dict:
    network = build('step')
    synchronize = StepSync(network)
    x = make_input((1, 3, 6, 5), rank)
    # The step has two forwards, of which the backward recomputes the first,
    # an evaluation between the forwards, and a process without an image.
    loss = checkpoint(
        lambda x: uneven_loss(network(x)), x, use_reentrant=False
    )
    network.eval()(x)
    network.train()
    network(x[:rank])
    loss.backward()
    synchronize()
    return copy_estimates(network)


def test_irregular_step(ranks):
    first, second = ranks(2).run(run_irregular_step)
    assert_same(first, second, 0)
    network = build('step')
    synchronize = StepSync(network)
    x0, x1 = (make_input((1, 3, 6, 5), rank) for rank in range(2))
    for x in (x0, x1, x1):
        network(x)
    synchronize()
    assert_same(first, copy_estimates(network), 1e-12)


def test_one_process():
    network = build('step')
    synchronize = StepSync(network)
    network(make_input((2, 3, 6, 5)))
    synchronize()
    assert network[1].bn.num_batches_tracked == 1
    before = copy_estimates(network)
    synchronize()  # the step had no forward
    assert_same(copy_estimates(network), before, 0)


def test_not_finite_sums_are_dropped():
    network = build('step')
    synchronize = StepSync(network)
    before = copy_estimates(network)
    network(torch.full((1, 3, 5, 5), float('inf'), dtype=torch.float64))
    synchronize()
    assert_same(copy_estimates(network), before, 0)
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
    StepSync(nn.Sequential(SyncBN(8)))()  # no layer has sync='step'
