# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import BRN, SyncBN

AT_ONCE = dict(start=0, r_steps=0, d_steps=0)


def test_first_batches_are_those_of_batch_norm():
    ours, theirs, x = BRN(8), SyncBN(8), torch.randn(2, 8, 5, 4)
    ours.running_mean += 1
    torch.testing.assert_close(ours(x), theirs(x))


def test_wide_limits_give_the_values_of_the_evaluation():
    norm = BRN(8, r_max=1e6, d_max=1e6, **AT_ONCE)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var)
    x = 3 * torch.randn(2, 8, 5, 4)
    expected = norm.eval()(x)
    torch.testing.assert_close(norm.train()(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ('num_batches', 'r_max', 'd_max'),
    [
        (0, 1, 0),
        (4999, 1, 0),
        (15000, 1.57, 2.5),
        (40000, 3, 5),
        (90000, 3, 5),
    ],
)
def test_schedule_of_the_paper(num_batches, r_max, d_max):
    limits = BRN(8)._limits(torch.tensor(num_batches))
    assert [float(t) for t in limits] == pytest.approx(
        [r_max, d_max], abs=1e-2
    )


def test_resumed_training_continues_the_schedule():
    options = dict(start=1, r_steps=5, d_steps=5)
    norm, resumed = BRN(8, **options), BRN(8, **options)
    for _ in range(3):
        norm(torch.randn(2, 8, 5, 4))
    resumed.load_state_dict(norm.state_dict())
    x = 2 + torch.randn(2, 8, 5, 4)
    assert torch.equal(norm(x), resumed(x))
    assert resumed._limits(resumed.num_batches_tracked)[0] > 1


def test_batch_norm_loads_and_back():
    bn, norm = nn.BatchNorm2d(8), BRN(8)
    norm.load_state_dict(bn.state_dict())
    bn.load_state_dict(norm.state_dict())
