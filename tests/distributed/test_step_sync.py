# Copyright (c) mmnorm contributors. All rights reserved.
"""One all-reduce per update serves the estimates of a whole network."""

import copy
import pickle

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmnorm import BCN, StepSync, SyncBN
from tests import reference
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


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_copy_needs_a_synchronization_of_its_own(copied):
    network = build('step')
    StepSync(network)
    x = make_input((1, 3, 6, 5)).detach()
    with pytest.raises(RuntimeError, match='moves no estimate by itself'):
        copied(network)(x)
    network(x)


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
        assert sizes == [2 * 8 + 2 + 2 * 16 + 2]
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


# The first three images are on one process, and the last one on another.
EQUAL = [(6, 5)] * 4
RAGGED = [(6, 5), (9, 4), (3, 3), (5, 8)]
UPDATES = 3


def make_images(update: int, sizes: list[tuple[int, int]]) -> list[Tensor]:
    return [
        make_input((1, 3, *size), 10 * update + i).detach() * (i + 1)
        for i, size in enumerate(sizes)
    ]


def mean_loss(y: Tensor) -> Tensor:
    return uneven_loss(y) / y.numel()


def train_one_by_one(
    rank: int, num_processes: int, sizes: list, options: dict
) -> dict[str, Tensor]:
    """Accumulate the gradients of images, and the sums of the layers."""
    network = build('step', **options)
    synchronize = StepSync(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for update in range(UPDATES):
        images = make_images(update, sizes)
        if num_processes == 2:
            images = images[3:] if rank else images[:3]
        with record_all_reduces() as all_reduces:
            for x in images:
                (mean_loss(network(x)) / len(sizes)).backward()
        assert all_reduces == []
        if num_processes == 2:
            for parameter in network.parameters():
                dist.all_reduce(parameter.grad)
        optimizer.step()
        optimizer.zero_grad()
        with record_all_reduces() as all_reduces:
            synchronize()
        assert len(all_reduces) == num_processes - 1
    return network.state_dict()


def train_at_once(sizes: list, options: dict) -> dict[str, Tensor]:
    """Train with all images in each step, by the formulas."""
    network = build('step', **options)
    StepSync(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for update in range(UPDATES):
        zs, inputs = make_images(update, sizes), {}
        for module in network:
            if isinstance(module, BCN):
                inputs[module] = zs
                zs = reference.bcn(module, zs)
            else:
                zs = [module(z) for z in zs]
        (sum(mean_loss(z) for z in zs) / len(sizes)).backward()
        optimizer.step()
        optimizer.zero_grad()
        for layer, xs in inputs.items():
            reference.update_estimates(layer, xs)
    return network.state_dict()


@pytest.mark.parametrize('num_processes', [1, 2])
@pytest.mark.parametrize('sizes', [EQUAL, RAGGED], ids=['equal', 'ragged'])
@pytest.mark.parametrize(
    'options',
    [
        {'estimate_grad': None},
        {'estimate_grad': 'image', 'momentum': None},
        {'estimate_grad': 'image', 'grad_share': 0.7},
    ],
    ids=str,
)
def test_steps_of_one_image_equal_a_step_of_all(
    ranks, num_processes, sizes, options
):
    expected = train_at_once(sizes, options)
    assert expected['1.bn.num_batches_tracked'] == UPDATES
    arguments = num_processes, sizes, options
    if num_processes == 1:
        states = [train_one_by_one(0, *arguments)]
    else:
        states = ranks(2).run(train_one_by_one, *arguments)
    for state in states:
        assert_same(state, expected, 1e-12)


def test_one_process():
    network = build('step')
    synchronize = StepSync(network)
    network(make_input((2, 3, 6, 5)))
    synchronize()
    assert network[1].bn.num_batches_tracked == 1
    before = copy_estimates(network)
    synchronize()  # no forward since the last call
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
