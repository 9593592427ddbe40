# Copyright (c) mmnorm contributors. All rights reserved.
"""The radius of SSN grows from 0 to 1 in a training."""

from types import SimpleNamespace

import pytest
from torch import nn

from mmnorm import SN, SSN, SparseSwitchHook


def radii(first: int, last: int) -> list[float]:
    """Return the radius at each iteration of a training of 4."""
    model = nn.Sequential(SSN(8), nn.ReLU(), nn.Sequential(SSN(8)))
    model[0].radius.fill_(0.9)  # of an earlier training
    runner = SimpleNamespace(model=model, iter=first, max_iters=4)
    hook, seen = SparseSwitchHook(), []
    hook.before_train(runner)
    for runner.iter in range(first, last):
        assert model[0].radius == model[2][0].radius
        seen.append(float(model[0].radius))
        hook.after_train_iter(runner, runner.iter)
    return [*seen, float(model[0].radius)]


def test_grows_to_one():
    assert radii(0, 4) == [0, 0.25, 0.5, 0.75, 1]


def test_resumed_training_goes_on():
    assert radii(2, 4) == [0.5, 0.75, 1]


def test_model_without_the_layer():
    runner = SimpleNamespace(model=SN(8), iter=0, max_iters=4)
    with pytest.raises(ValueError, match='finds no SSN in the model'):
        SparseSwitchHook().before_train(runner)
