# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm import IN


def test_is_that_of_torch():
    theirs = nn.InstanceNorm2d(8, affine=True)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours, x = IN(8), torch.randn(3, 8, 5, 4)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_one_pixel_becomes_the_bias():
    norm = IN(8)
    nn.init.normal_(norm.bias)
    y = norm(torch.randn(2, 8, 1, 1)).flatten(1)
    torch.testing.assert_close(y, norm.bias.expand(2, 8), rtol=0, atol=1e-3)


def test_without_parameters():
    assert not list(IN(8, affine=False).parameters())
