# Copyright (c) mmnorm contributors. All rights reserved.

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


def test_statistics_of_half_parameters_are_in_float32():
    layer = SyncBN(8).bfloat16()
    x = (torch.randn(2, 8, 32, 32) + 50).bfloat16()
    expected = SyncBN(8).double()(x.double())
    # The input itself has two digits here; its mean has more.
    assert (layer(x).double() - expected).abs().max() < 0.01
