# Copyright (c) mmnorm contributors. All rights reserved.
"""The network is that of the paper, but for its shortcuts."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmnorm import BCN
from mmnorm.backbones.cifar_resnet import CifarResNet


@pytest.mark.parametrize('depth', [20, 32, 44, 56, 110])
def test_depth_counts_convolutions_and_the_classifier(depth):
    network = CifarResNet(depth)
    sizes = [
        module.out_channels
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    blocks = (depth - 2) // 6
    assert len(sizes) + 1 == depth
    assert sizes == [16] * (2 * blocks + 1) + [
        width for width in (32, 64) for _ in range(2 * blocks)
    ]


def test_number_of_parameters():
    # Table 6 of the paper says 1.7M with a classifier of 10 classes. The two
    # shortcuts are 16 x 32 + 32 x 64 weights and 2 x (32 + 64) of the norms.
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    classifier = 64 * 10 + 10
    count = sum(p.numel() for p in CifarResNet(110).parameters())
    assert round((count + classifier) / 1e6, 1) == 1.7
    without = count + classifier - shortcuts
    assert without == 1727962


def test_maps():
    network = CifarResNet(20, norm_cfg=dict(type='mmnorm.BCN', num_groups=8))
    assert sum(isinstance(m, BCN) for m in network.modules()) == 21
    (maps,) = network(torch.randn(2, 3, 32, 32))
    assert maps.shape == (2, 64, 8, 8)
    assert network.feat_dim == 64


def test_unknown_depth():
    with pytest.raises(KeyError, match='invalid depth 50'):
        CifarResNet(50)


def test_mmnorm_does_not_import_mmpretrain():
    code = 'import sys, mmnorm; sys.exit("mmpretrain" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
