# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms with running statistics, and sums of their inputs."""

import torch
from torch import nn

from mmnorm import BCN, GN, SN, SyncBN
from mmnorm.functional.statistics import batch_sums
from mmnorm.precise.running_norms import input_sums, running_norms


def test_norms_and_their_statistics():
    model = nn.Sequential(
        BCN(32),
        GN(32),
        nn.Sequential(SN(4), SN(4, use_bn=False), SyncBN(4)),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm1d(4),
    )
    found = dict(running_norms(model))
    assert list(found) == ['0', '2.0', '2.2', '4']
    assert found['0'] is model[0].bn
    assert found['2.2'] is model[2][2]


def test_input_sums_an_input():
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    var, mean = torch.var_mean(x, (2, 3), correction=0)
    torch.testing.assert_close(input_sums(x), batch_sums(mean, var, 30))
    torch.testing.assert_close(
        input_sums(x[..., 0, 0]), input_sums(x[..., :1, :1])
    )
