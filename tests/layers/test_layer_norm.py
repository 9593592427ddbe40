# Copyright (c) mmnorm contributors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import nn

from mmnorm import LN


def test_statistics_are_those_of_an_image():
    norm, x = LN(8), torch.randn(3, 8, 5, 4)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    weight, bias = (each.view(8, 1, 1) for each in norm.parameters())
    expected = F.layer_norm(x, (8, 5, 4)) * weight + bias
    torch.testing.assert_close(norm(x), expected)


def test_without_parameters():
    assert not list(LN(8, affine=False).parameters())
