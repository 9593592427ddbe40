# Copyright (c) mmnorm contributors. All rights reserved.
"""Shares are sparse to the degree of the radius."""

import pytest
import torch

from mmnorm.functional import sparsestmax
from tests import reference

RADII = (0.0, 0.1, 0.3, 0.408, 0.45, 0.6, 0.7072, 0.8, 0.82, 1.0)


def random_logits(size: int) -> list[torch.Tensor]:
    return [*(0.5 * torch.randn(40, size, dtype=torch.float64))]


@pytest.mark.parametrize('size', [2, 3, 4])
@pytest.mark.parametrize('radius', RADII)
def test_equals_reference(size, radius):
    for logits in random_logits(size):
        twin = logits.clone().requires_grad_()
        shares = sparsestmax(
            logits.requires_grad_(), torch.tensor(radius, dtype=torch.float64)
        )
        expected = reference.sparsestmax(twin, radius)
        torch.testing.assert_close(shares, expected, rtol=0, atol=1e-12)
        weights = torch.linspace(-1, 2, size).double()
        (shares * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(
            logits.grad, twin.grad, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize('size', [2, 3])
@pytest.mark.parametrize('radius', RADII)
def test_shares_and_their_distance(size, radius):
    for logits in random_logits(size):
        shares = sparsestmax(logits.float(), torch.tensor(radius))
        torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
        assert (shares >= 0).all()
        # A vertex is as far away as the simplex reaches.
        farthest = (1 - 1 / size) ** 0.5
        distance = (shares - 1 / size).norm()
        assert distance >= min(radius, farthest) - 1e-5
        assert shares.argmax() == logits.argmax()


@pytest.mark.parametrize('size', [2, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('radius', RADII)
def test_equal_logits_keep_equal_shares(size, dtype, radius):
    logits = torch.full((size,), 1.7, dtype=dtype, requires_grad=True)
    shares = sparsestmax(logits, torch.tensor(radius))
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / size))
    shares[0].backward()
    assert logits.grad.isfinite().all()
