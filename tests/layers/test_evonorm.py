# Copyright (c) mmnorm contributors. All rights reserved.
import torch
from torch import nn
from torch.nn import functional as F

from mmnorm import GN, EvoNormB0, EvoNormS0
from mmnorm.precise import recalibrate


def test_s0_is_a_swish_of_standardized_maps():
    # With one slope for x, and maps of mean 0, the swish commutes.
    norm, x = EvoNormS0(8, 4, eps=0), torch.randn(2, 8, 5, 4)
    x = GN(8, 4, eps=0)(x)
    torch.testing.assert_close(norm(x), F.silu(x), rtol=1e-4, atol=1e-5)


def test_b0_uses_the_running_variance_in_evaluation():
    norm = EvoNormB0(8, eps=0).eval()
    nn.init.constant_(norm.running_var, 16)
    nn.init.zeros_(norm.v)
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(norm(x), x / 4)


def test_checkpoints_of_timm_load():
    state = {key: torch.rand(8) for key in ('weight', 'bias', 'v')}
    EvoNormS0(8, 4).load_state_dict(state)
    norm = EvoNormB0(8)
    norm.load_state_dict(state | {'running_var': torch.full((8,), 2.0)})
    assert (norm.running_var == 2).all()


def test_recalibrates():
    norm, xs = EvoNormB0(8), torch.randn(3, 2, 8, 5, 4)
    recalibrate(norm, xs)
    expected = xs.transpose(0, 2).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var, expected)
