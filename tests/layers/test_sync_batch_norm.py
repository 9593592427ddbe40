# Copyright (c) mmnorm contributors. All rights reserved.
import copy

import pytest
import torch
from torch import nn

from mmnorm import SyncBN


@pytest.mark.parametrize('momentum', [0.1, 0.3, None])
def test_equals_torch_batch_norm(momentum):
    ours = SyncBN(8, momentum=momentum)
    theirs = nn.BatchNorm2d(8, momentum=momentum)
    for _ in range(5):
        x = torch.randn(2, 8, 5, 4)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_bare_name_stays_that_of_torch():
    from mmcv.cnn import build_norm_layer

    _, norm = build_norm_layer(dict(type='SyncBN'), 8)
    assert isinstance(norm, nn.SyncBatchNorm)
    name, norm = build_norm_layer(dict(type='mmnorm.SyncBN'), 8)
    assert type(norm) is SyncBN
    assert name == 'bn'


def test_fuses_into_a_convolution():
    from mmcv.cnn import fuse_conv_bn

    network = nn.Sequential(nn.Conv2d(3, 8, 1), SyncBN(8))
    for _ in range(5):
        network(torch.randn(2, 3, 5, 4))
    x = torch.randn(2, 3, 5, 4)
    expected = network.eval()(x)
    fused = fuse_conv_bn(copy.deepcopy(network))
    assert not any(isinstance(m, SyncBN) for m in fused.modules())
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-5)
