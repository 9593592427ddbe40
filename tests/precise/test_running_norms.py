# Copyright (c) mmnorm contributors. All rights reserved.
"""Which norms have running statistics, and where."""

import torch
from torch import nn

from mmnorm import BCN, GN, SN, SyncBN
from mmnorm.functional.statistics import batch_sums
from mmnorm.precise.running_norms import running_norms, sums_of


def test_where_they_are():
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


def test_sums_of_an_input():
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    var, mean = torch.var_mean(x, (2, 3), correction=0)
    torch.testing.assert_close(sums_of(x), batch_sums(mean, var, 30))
    torch.testing.assert_close(sums_of(x[..., 0, 0]), sums_of(x[..., :1, :1]))
