# Copyright (c) mmnorm contributors. All rights reserved.
"""The estimates of ``sync='step'`` move where the optimizer updates."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import Tensor, nn

from mmnorm import BCN, StepSyncHook

IMAGE = torch.rand(1, 8, 3, 3)
Wrapper = OptimWrapper | OptimWrapperDict


def make(window: int, kind: type = OptimWrapper) -> tuple[BCN, OptimWrapper]:
    network = BCN(8, 4, sync='step')
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    wrapper = kind(optimizer=optimizer, accumulative_counts=window)
    return network, wrapper


def loss_of(network: BCN) -> Tensor:
    return network(IMAGE).square().mean()


def run(
    network: nn.Module,
    wrapper: Wrapper,
    step: Callable[[int], None],
    first: int = 1,
    last: int = 12,
) -> tuple[list[int], list[int]]:
    """Run iterations; return those that update weights, or move estimates.

    An iteration updates weights if the optimizer of a wrapper steps.
    """
    runner = SimpleNamespace(model=network, optim_wrapper=wrapper)
    wrapper.initialize_count_status(network, first - 1, last)
    layers = [m for m in network.modules() if isinstance(m, BCN)]
    steps, updated, moved = [], [], []
    is_dict = isinstance(wrapper, OptimWrapperDict)
    for each in wrapper.values() if is_dict else [wrapper]:
        each.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    hook = StepSyncHook()
    hook.before_train(runner)
    for iteration in range(first, last + 1):
        steps.clear()
        before = [layer.bn.num_batches_tracked.item() for layer in layers]
        hook.before_train_iter(runner, iteration - 1)
        step(iteration)
        hook.after_train_iter(runner, iteration - 1)
        after = [layer.bn.num_batches_tracked.item() for layer in layers]
        if steps:
            updated.append(iteration)
        if after != before:
            moved.append(iteration)
    return updated, moved


@pytest.mark.parametrize(
    ('window', 'first', 'last', 'expected'),
    [
        (1, 1, 3, [1, 2, 3]),
        (3, 1, 6, [3, 6]),
        (3, 1, 8, [3, 6, 8]),  # the last window is incomplete
        (4, 7, 12, [8, 12]),  # resumed inside a window
        (4, 10, 11, [11]),
        (9, 1, 5, [5]),
    ],
)
def test_windows(window, first, last, expected):
    network, wrapper = make(window)

    def step(iteration: int) -> None:
        wrapper.update_params(loss_of(network))

    assert run(network, wrapper, step, first, last) == (expected, expected)


def test_own_training_step():
    # This step does without the counts of the wrapper.
    network, wrapper = make(4)

    def step(iteration: int) -> None:
        loss_of(network).backward()
        wrapper.step()

    updated, moved = run(network, wrapper, step)
    assert moved == updated == list(range(1, 13))


@pytest.mark.parametrize('windows', [(1, 1), (2, 3), (3, 2), (4, 4)])
@pytest.mark.parametrize('interval', [1, 2, 5])
def test_two_optimizers(windows, interval):
    # The second network trains in every second or fifth iteration only.
    networks, wrappers = zip(*map(make, windows), strict=True)
    wrapper = OptimWrapperDict(a=wrappers[0], b=wrappers[1])

    def step(iteration: int) -> None:
        wrapper['a'].update_params(loss_of(networks[0]))
        if iteration % interval == 0:
            wrapper['b'].update_params(loss_of(networks[1]))

    updated, moved = run(nn.ModuleList(networks), wrapper, step)
    assert moved == updated
    assert moved


def test_several_backwards_in_an_iteration():
    network, inner = make(4)
    wrapper = OptimWrapperDict(a=inner)

    def step(iteration: int) -> None:
        for _ in range(3):
            inner.update_params(loss_of(network))

    expected = [2, 3, 4, 6, 7, 8, 10, 11, 12]
    assert run(network, wrapper, step) == (expected, expected)


@pytest.mark.parametrize('skips', [False, True])
def test_mixed_precision(monkeypatch, skips):
    # The wrapper asks for a GPU. Without a GPU, its scaler does nothing.
    name = 'is_cuda_available'
    monkeypatch.setattr(amp_optimizer_wrapper, name, lambda: True)
    network, wrapper = make(3, AmpOptimWrapper)
    if skips:  # as after an overflow of the gradients
        monkeypatch.setattr(wrapper.loss_scaler, 'step', lambda *_: None)

    def step(iteration: int) -> None:
        wrapper.update_params(loss_of(network))

    updated, moved = run(network, wrapper, step, 1, 8)
    assert moved == [3, 6, 8]
    assert updated == ([] if skips else moved)
