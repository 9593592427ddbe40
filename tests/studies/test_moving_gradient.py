# Copyright (c) mmnorm contributors. All rights reserved.
"""The gradient over the last images, against formulas step by step."""

import pytest
import torch
from torch import Tensor

from mmnorm import BCN
from studies.moving_gradient import MovingGradientBCN

SHAPE, CHANNELS = (1, 8, 5, 4), 8
DIMS = (0, 2, 3)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        for _ in range(3)
    ]


def gradients(norm: BCN) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return gradient, normalized batch and 1 / sigma, batch by batch."""
    weights = torch.linspace(-1, 2, 160, dtype=torch.float64).view(SHAPE)
    found = []
    for batch in batches():
        x = batch.requires_grad_()
        (norm(x) * weights).sum().backward()
        rstd = (norm.bn.running_var + norm.bn.eps).rsqrt()
        mean = norm.bn.running_mean[:, None, None]
        rstd = rstd[:, None, None]
        found.append((x.grad, (x.detach() - mean) * rstd, rstd))
    return found


@pytest.mark.parametrize('kind', ['moving', 'online'])
def test_against_the_formulas(kind):
    plain = gradients(BCN(CHANNELS, 4, estimate_grad=None).double())
    norm = MovingGradientBCN(CHANNELS, kind, decay=0.7, num_groups=4).double()
    mean = slope = torch.zeros(CHANNELS, 1, 1, dtype=torch.float64)
    for (actual, *_), (g, z, rstd) in zip(gradients(norm), plain, strict=True):
        if kind == 'moving':
            mean = 0.7 * mean + 0.3 * g.mean(DIMS, keepdim=True)[0]
            slope = 0.7 * slope + 0.3 * (g * z).mean(DIMS, keepdim=True)[0]
            expected = g - mean - slope * z
        else:
            g = g / rstd - 0.3 * slope * z
            slope = slope + (g * z).mean(DIMS, keepdim=True)[0]
            expected = g * rstd - 0.3 * mean
            mean = mean + expected.mean(DIMS, keepdim=True)[0]
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_forward_is_that_of_bcn():
    norm = MovingGradientBCN(CHANNELS, num_groups=4).double()
    plain = BCN(CHANNELS, 4, estimate_grad=None).double()
    for batch in batches():
        assert torch.equal(norm(batch), plain(batch))
    norm.eval()
    plain.eval()
    assert torch.equal(norm(batches()[0]), plain(batches()[0]))
