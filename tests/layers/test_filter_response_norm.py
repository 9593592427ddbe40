# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn

from mmnorm import FRN


def test_threshold_bounds_the_result():
    norm = FRN(8)
    nn.init.uniform_(norm.tau)
    y = norm(torch.randn(2, 8, 5, 4))
    assert torch.equal(y.amin((0, 2, 3)), norm.tau)


def test_one_pixel_keeps_its_size_with_a_learned_eps():
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    plain, learned = FRN(1), FRN(1, learn_eps=True)
    torch.testing.assert_close(plain(x), torch.ones_like(x))
    nn.init.constant_(learned.learned_eps, -9)  # the sign does not matter
    expected = torch.tensor([0.1, 0.5]).sqrt().view_as(x)
    torch.testing.assert_close(learned(x), expected)


def test_checkpoint_of_timm_loads():
    state = {key: torch.rand(8) for key in ('weight', 'bias', 'tau')}
    FRN(8).load_state_dict(state)


def test_gradient_of_tau_is_a_sum_in_float32():
    layer = FRN(2)
    x = (-torch.rand(1, 2, 300, 300) - 1).half()
    y = layer(x)
    assert y.dtype == torch.float16
    y.backward(torch.ones_like(y))
    assert layer.tau.grad.tolist() == [90000, 90000]
