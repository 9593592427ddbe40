# Copyright (c) mmnorm contributors. All rights reserved.
"""N processes equal one process that sees all their images."""

import copy

import pytest
import torch
from torch import Tensor, nn

from .layers.cases import (
    CHANNELS,
    LAYERS,
    assert_same,
    loss_of,
    make_input,
    make_layer,
)

SYNCHRONISED = (
    'SyncBN',
    'SyncBN cumulative',
    'BCN estimate',
    'BCN batch',
    'BCN per channel',
    'SN',
)
SHAPES = {
    'equal': [(2, 5, 4), (2, 5, 4)],
    'unequal numbers': [(3, 5, 4), (1, 5, 4)],
    'unequal sizes': [(1, 5, 4), (2, 9, 2)],
    'one with nothing': [(2, 5, 4), (0, 5, 4)],
    'all with nothing': [(0, 5, 4), (0, 3, 3)],
    'one pixel each': [(1, 1, 1), (1, 1, 1)],
    'one pixel in the world': [(1, 1, 1), (0, 1, 1)],
}


def step(rank: int, name: str, xs: list[Tensor]) -> dict[str, Tensor]:
    layer, x = make_layer(name), xs[rank].requires_grad_()
    y = layer(x)
    loss_of(y).backward()
    seen = {'output': y.detach(), 'input gradient': x.grad}
    seen |= {f'{k} gradient': p.grad for k, p in layer.named_parameters()}
    return seen | dict(layer.named_buffers())


def one_process(layer: nn.Module, name: str, xs: list[Tensor]):
    xs = [x.detach().requires_grad_() for x in xs]
    ys = LAYERS[name][1](layer, xs)
    sum(loss_of(y) for y in ys).backward()
    return xs, ys


@pytest.mark.parametrize('name', SYNCHRONISED)
@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES)
def test_equals_one_process(ranks, name, shapes):
    xs = [
        make_input((n, CHANNELS, *size), seed).detach() * (seed + 1)
        for seed, (n, *size) in enumerate(shapes)
    ]
    seen = ranks(len(xs)).run(step, name, xs)
    layer = copy.deepcopy(make_layer(name))
    inputs, outputs = one_process(layer, name, xs)
    for i, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        expected = {'output': y.detach(), 'input gradient': x.grad}
        actual = {key: seen[i][key] for key in expected}
        assert_same(actual, expected, 1e-12)
        buffers = dict(layer.named_buffers())
        assert_same({k: seen[i][k] for k in buffers}, buffers, 1e-12)
    for key, parameter in layer.named_parameters():
        total = sum(s[f'{key} gradient'] for s in seen)
        torch.testing.assert_close(
            total, parameter.grad, rtol=1e-12, atol=1e-12
        )


def local_step(rank: int) -> Tensor:
    x = torch.full((2, CHANNELS, 3, 3), float(rank))
    layer = LAYERS['BCN estimate'][0](CHANNELS, sync=False)
    layer(x)
    return layer.bn.running_mean


def test_without_sync_each_process_is_alone(ranks):
    first, second = ranks(2).run(local_step)
    assert (first == 0).all()
    torch.testing.assert_close(second, torch.full((CHANNELS,), 0.1))
