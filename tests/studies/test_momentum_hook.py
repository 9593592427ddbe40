# Copyright (c) mmnorm contributors. All rights reserved.
"""The schedules of the momentum are those of their formulas."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmnorm import BCN
from studies import momentum_hook
from studies.momentum_hook import MomentumHook

STEPS, RATES = 10, (1.0, 2.0, 2.0, 1.5, 1.0, 1.0, 0.5, 0.5, 0.2, 0.0)


def runner_of(network: nn.Module) -> SimpleNamespace:
    group = {'lr': 0.0, 'initial_lr': 2.0}
    return SimpleNamespace(
        model=network,
        iter=0,
        max_iters=STEPS,
        optim_wrapper=SimpleNamespace(param_groups=[group]),
        train_dataloader=SimpleNamespace(dataset='data'),
    )


def momenta(network: nn.Module, **kwargs: object) -> list[float]:
    hook, runner = MomentumHook(**kwargs), runner_of(network)
    hook.before_train(runner)
    found = []
    for step, rate in enumerate(RATES):
        runner.iter = step
        runner.optim_wrapper.param_groups[0]['lr'] = rate
        hook.before_train_iter(runner, step)
        found.append(network[0].bn.momentum)
    return found


def network(momentum: float = 0.2) -> nn.Sequential:
    return nn.Sequential(
        BCN(32, momentum=momentum, base_batch_size=None), nn.BatchNorm2d(32)
    )


def test_debiased_estimates_are_the_mean_at_the_start():
    net = network()
    found = momenta(net, debias=True)
    expected = [0.2 / (1 - 0.8**step) for step in range(1, STEPS + 1)]
    assert found == pytest.approx(expected)
    assert net[1].momentum == 0.1
    # The first step forgets the initial 0 and 1.
    net[0].bn.momentum = found[0]
    x = torch.randn(1, 32, 4, 4) + 3
    net[0](x)
    torch.testing.assert_close(net[0].bn.running_mean, x.mean((0, 2, 3)))


def test_momentum_falls_with_the_learning_rate():
    expected = [0.2 * rate / 2 for rate in RATES]
    assert momenta(network(), follow_lr=True) == pytest.approx(expected)
    assert momenta(network(), follow_lr=True, debias=True)[-1] == 0.0


def test_estimates_freeze(monkeypatch):
    calls = []
    monkeypatch.setattr(
        momentum_hook, 'recalibrate_on', lambda *args: calls.append(args)
    )
    found = momenta(network(), freeze=0.2, num_batches=7)
    assert found == [0.2] * 8 + [0.0] * 2
    ((dataset, _, _, num_batches, step),) = calls
    assert (dataset, num_batches, step) == ('data', 7, 9)
