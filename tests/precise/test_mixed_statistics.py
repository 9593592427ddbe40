# Copyright (c) mmnorm contributors. All rights reserved.
"""An image under test has a share in the statistics of batch norms."""

import pytest
import torch
from torch import Tensor, nn

from mmnorm import BCN, BN, BRN, GN, SyncBN
from mmnorm.precise import mix_image_statistics

KINDS = [nn.BatchNorm2d, nn.SyncBatchNorm, BN, BRN, SyncBN]


def make(kind: type) -> nn.Module:
    norm = kind(6).double().eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def by_moments(norm: nn.Module, x: Tensor, share: float) -> Tensor:
    """Mix the first and the second moments, as the paper writes it."""
    shape = (1, -1, 1, 1)
    running_mean = norm.running_mean.view(shape)
    running_square = norm.running_var.view(shape) + running_mean.square()
    mean = x.mean((2, 3), keepdim=True)
    square = x.square().mean((2, 3), keepdim=True)
    mean = share * mean + (1 - share) * running_mean
    square = share * square + (1 - share) * running_square
    y = (x - mean) / (square - mean.square() + norm.eps).sqrt()
    return y * norm.weight.view(shape) + norm.bias.view(shape)


@pytest.mark.parametrize('share', [0, 0.3, 1])
@pytest.mark.parametrize('kind', KINDS)
def test_equals_the_mix_of_moments(kind, share):
    norm, x = make(kind), 2 * torch.randn(3, 6, 5, 4).double() + 1
    expected = by_moments(norm, x, share)
    plain = norm(x) if share == 0 else None
    assert mix_image_statistics(nn.Sequential(norm), share) == 1
    torch.testing.assert_close(norm(x), expected)
    if plain is not None:
        torch.testing.assert_close(norm(x), plain)


def test_without_weight_and_bias():
    norm = nn.BatchNorm2d(6, affine=False).eval()
    mix_image_statistics(norm, 1.0)
    x = torch.randn(2, 6, 8, 8)
    expected = nn.functional.instance_norm(x)
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', KINDS[2:])
def test_planes_of_one_pixel_and_training_stay(kind):
    norm = make(kind)
    pixel, x = torch.randn(3, 6, 1, 1).double(), torch.randn(3, 6, 4, 4)
    before = norm(pixel)
    mix_image_statistics(norm, 0.5)
    assert torch.equal(norm(pixel), before)
    batches = norm.num_batches_tracked.clone()
    norm.train()(x.double())
    assert norm.num_batches_tracked == batches + 1


def test_twice_is_the_second_share():
    norm, x = make(BN), torch.randn(3, 6, 5, 4).double()
    for share in (0.9, 0.2):
        mix_image_statistics(norm, share)
    torch.testing.assert_close(norm(x), by_moments(norm, x, 0.2))


def test_state_dict_stays():
    norm = make(BN)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    mix_image_statistics(norm, 0.5)
    norm(torch.randn(3, 6, 5, 4).double())
    torch.testing.assert_close(norm.state_dict(), before)


@pytest.mark.parametrize('norm', [GN(8, 4), BCN(8, 4)], ids=['GN', 'BCN'])
def test_models_that_cannot_mix(norm):
    with pytest.raises(ValueError, match='has no batch norm with running'):
        mix_image_statistics(nn.Sequential(norm), 0.5)


@pytest.mark.parametrize('share', [-0.1, 1.5, float('nan')])
def test_shares_are_checked(share):
    with pytest.raises(ValueError, match='give a number from 0 to 1'):
        mix_image_statistics(BN(8), share)
