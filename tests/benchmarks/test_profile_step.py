# Copyright (c) mmnorm contributors. All rights reserved.
"""The profile names the norms of each part of a model."""

import torch
from torch import nn

from mmnorm import BCN

TOOL = 'benchmarks.profile_step'


def test_norms_of_each_part(module):
    backbone = nn.Sequential(nn.Conv2d(3, 8, 1), BCN(8, 4), nn.ReLU())
    head = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    model = nn.ModuleDict({'backbone': backbone, 'head': head})
    module.mark_norms(model)

    def step() -> None:
        head(backbone(torch.rand(2, 3, 8, 8))).sum().backward()

    times = module.by_part(module.measure(step, 'cpu', 2), 2)
    assert list(times) == ['backbone.1', 'head.0']
    assert all(host > 0 and gpu == 0 for host, gpu in times.values())
