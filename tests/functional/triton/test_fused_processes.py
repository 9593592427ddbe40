# Copyright (c) mmnorm contributors. All rights reserved.
"""Fused norms of several processes equal one process that has all images."""

import copy

import pytest
import torch
from torch import Tensor

from mmnorm.functional.dispatch import forced
from tests.distributed.test_sync import (
    record_all_reduces,
    run_one_process,
)
from tests.layers.cases import (
    CHANNELS,
    assert_same,
    make_input,
    make_layer,
    uneven_loss,
)

from .devices import INTERPRETED

pytestmark = pytest.mark.skipif(
    not INTERPRETED,
    reason='several processes need the CPU; test_interpreted.py runs this',
)
NAMES = [
    'SyncBN',
    'SyncBN cumulative',
    'BCN estimate',
    'BCN constant estimate',
    'BCN batch',
    'BCN per channel',
    'BCN gradient of batch',
    'BCN gradient of image',
    'SN',
]
SHAPES = {
    'unequal numbers': [(3, 5, 4), (1, 5, 4)],
    'unequal sizes': [(1, 5, 4), (2, 9, 2)],
    'many chunks': [(1, 17, 19), (40, 1, 2)],
    'one without images': [(2, 5, 4), (0, 5, 4)],
    'one pixel each': [(1, 1, 1), (1, 1, 1)],
    'one pixel in the world': [(1, 1, 1), (0, 1, 1)],
}


def step(
    rank: int, name: str, xs: list[Tensor], nan_rank: int | None = None
) -> dict[str, Tensor | int]:
    layer, x = make_layer(name).float(), xs[rank].clone().requires_grad_()
    with forced('triton'), record_all_reduces() as sizes:
        if nan_rank is not None:
            layer(x * float('nan') if nan_rank == rank else x)
            sizes.clear()
        y = layer(x)
        function = type(y.grad_fn).__name__
        uneven_loss(y).backward()
    seen = {'output': y.detach(), 'input gradient': x.grad}
    seen |= {f'{k} gradient': p.grad for k, p in layer.named_parameters()}
    seen |= dict(layer.named_buffers())
    return seen | {'sizes': sizes, 'function': function}


@pytest.mark.parametrize('shapes', SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize('name', NAMES)
def test_equals_one_process(ranks, name, shapes):
    check(ranks, name, shapes)


@pytest.mark.parametrize('name', NAMES)
def test_nan_on_one_process(ranks, name):
    check(ranks, name, SHAPES['unequal numbers'], nan_rank=1)


def check(ranks, name, shapes, nan_rank: int | None = None) -> None:
    xs = [
        make_input((n, CHANNELS, *size), seed).detach() * (seed + 1)
        for seed, (n, *size) in enumerate(shapes)
    ]
    seen = ranks(2).run(step, name, [x.float() for x in xs], nan_rank)
    layer = copy.deepcopy(make_layer(name))
    inputs, outputs = run_one_process(layer, name, xs)
    backward = name not in ('BCN constant estimate', 'BCN gradient of image')
    for i, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        assert seen[i].pop('sizes') == [2 * CHANNELS + 2] * (1 + backward)
        is_fused = seen[i].pop('function').startswith('_Fused')
        assert is_fused == (x.numel() > 0)
        expected = {'output': y.detach(), 'input gradient': x.grad}
        expected |= dict(layer.named_buffers())
        actual = {k: seen[i][k].to(v) for k, v in expected.items()}
        assert_same(actual, expected, 1e-3)
    for key, parameter in layer.named_parameters():
        total = sum(s[f'{key} gradient'].double() for s in seen)
        torch.testing.assert_close(total, parameter.grad, rtol=1e-3, atol=1e-3)


def twice(rank: int, name: str) -> list[Tensor]:
    layer, x = make_layer(name).float(), make_input((2, CHANNELS, 3, 3), rank)
    x = x.detach().float().requires_grad_()
    with forced('triton'):
        loss = uneven_loss(layer(x))
        found = []
        for _ in range(2):
            x.grad = None
            loss.backward(retain_graph=True)
            found.append(x.grad)
    return found


def test_backward_twice(ranks):
    for first, second in ranks(2).run(twice, 'BCN batch'):
        assert torch.equal(first, second)
