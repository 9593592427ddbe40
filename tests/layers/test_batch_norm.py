# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm import BN
from mmnorm.deploy.fold import fold


def test_is_that_of_torch():
    ours, theirs = BN(8), nn.BatchNorm2d(8)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 8, 5, 4)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_folds_into_a_convolution():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), BN(8)).eval()
    assert '1' in fold(network, torch.rand(1, 3, 5, 4)).folded
