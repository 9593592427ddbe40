# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import ConvWS, SyncBN
from mmnorm.checkpoints.convert.weight_standardization import (
    looks_standardized,
    output_ratio,
    rescale_statistics,
    unbiased_std,
)

from .official import standardize_inside, standardize_outside


@pytest.mark.parametrize('scale', [10, 1, 1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 0])
def test_ratio_of_the_two_forms(scale):
    weight = scale * torch.randn(6, 4, 3, 3).double()
    ratio = output_ratio(weight).view(-1, 1, 1, 1)
    torch.testing.assert_close(
        ratio * standardize_inside(weight), standardize_outside(weight)
    )


@pytest.mark.parametrize('scale', [1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-20])
def test_rescaled_statistics_undo_the_ratio(scale):
    conv = ConvWS(4, 6, 3, bias=False).double().requires_grad_(False)
    conv.weight.data = scale * torch.randn(6, 4, 3, 3).float().double()
    x = torch.randn(2, 4, 8, 8).double()
    theirs = nn.functional.conv2d(x, standardize_inside(conv.weight))
    norm = SyncBN(6).double().eval().requires_grad_(False)
    norm.running_mean.copy_(theirs.mean((0, 2, 3)))
    norm.running_var.copy_(theirs.var((0, 2, 3)))
    expected = norm(theirs)
    state = {f'n.{k}': v.float() for k, v in norm.state_dict().items()}
    scaled = rescale_statistics(state, 'n', output_ratio(conv.weight))
    assert all(value.dtype is torch.float32 for value in scaled.values())
    norm.running_mean.copy_(scaled['n.running_mean'])
    norm.running_var.copy_(scaled['n.running_var'])
    torch.testing.assert_close(norm(conv(x)), expected, rtol=0, atol=1e-6)


def test_std_is_that_of_the_layer():
    conv = ConvWS(4, 6, 3, bias=False)
    x = torch.randn(1, 4, 3, 3)
    raw = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
    std = unbiased_std(conv.weight).float().view(-1, 1, 1, 1)
    expected = nn.functional.conv2d(x, raw / (std + conv.eps))
    torch.testing.assert_close(conv(x), expected)


def trained(conv: nn.Module) -> torch.Tensor:
    """Return filters that were trained to find the brightest quarter."""
    net = nn.Sequential(conv, SyncBN(32), nn.ReLU(), nn.Conv2d(32, 4, 4))
    step = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(60):
        light = torch.rand(16, 1, 2, 2)
        x = torch.rand(16, 32, 6, 6) * nn.functional.interpolate(light, 6)
        label = light.flatten(1).argmax(1)
        loss = nn.functional.cross_entropy(net(x).flatten(1), label)
        step.zero_grad()
        loss.backward()
        step.step()
    return conv.weight.detach()


def test_training_without_standardization_shows():
    assert looks_standardized([torch.randn(64, 32, 3, 3)])
    assert looks_standardized([trained(ConvWS(32, 32, 3, bias=False))])
    assert not looks_standardized([trained(nn.Conv2d(32, 32, 3, bias=False))])


def test_too_few_numbers_look_standardized():
    assert looks_standardized([])
    assert looks_standardized(
        [torch.ones(8, 4, 1, 1), torch.ones(8, 32, 1, 1)]
    )
