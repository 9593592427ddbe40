# Copyright (c) mmnorm contributors. All rights reserved.
"""The factors of equi-normalization equal their formula, number by number."""

import pytest
import torch
from torch import Tensor, nn

from mmnorm.functional.enorm import (
    balancing_factors,
    first_norms,
    over_first,
    over_second,
    second_norms,
)


def length(values: list[Tensor]) -> Tensor:
    return torch.stack(values).square().sum().sqrt()


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_norms_of_a_convolution(groups):
    conv = nn.Conv2d(4, 8, (3, 2), groups=groups).double()
    weight, size = conv.weight.detach(), 4 // groups
    for o, norm in enumerate(first_norms(conv.weight)):
        torch.testing.assert_close(norm, length([*weight[o].flatten()]))
    # Channel i is number i % size in the filters of its group.
    for i, norm in enumerate(second_norms(conv.weight, 4, groups)):
        own = weight.split(8 // groups)[i // size]
        values = [w for kernel in own for w in kernel[i % size].flatten()]
        torch.testing.assert_close(norm, length(values))
    scaled = weight * over_second(torch.arange(4.0), conv.weight, groups)
    for i in range(4):
        for j, kernel in enumerate(scaled.split(8 // groups)[i // size]):
            o = i // size * (8 // groups) + j
            assert torch.equal(kernel[i % size], weight[o, i % size] * i)


def test_norms_behind_a_flattened_map():
    weight = torch.randn(5, 3 * 4).double()
    for i, norm in enumerate(second_norms(weight, 3, 1)):
        values = [*weight[:, 4 * i : 4 * i + 4].flatten()]
        torch.testing.assert_close(norm, length(values))
    over = over_second(torch.tensor([1.0, 2.0, 3.0]), weight, 1)
    assert over.tolist() == [4 * [1.0] + 4 * [2.0] + 4 * [3.0]] * 5


def test_half_precision_is_summed_in_float32():
    weight = torch.full((2, 1000), 2e-4, dtype=torch.float16)
    expected = 2e-4 * 1000**0.5
    assert abs(first_norms(weight)[0].item() / expected - 1) < 1e-3
    factors = torch.tensor([2.0, 3.0])
    assert over_first(factors, weight).dtype == torch.float16


@pytest.mark.parametrize('c', [1, 1.2])
def test_norms_get_the_ratio(c):
    left, right = torch.rand(6) + 0.1, torch.rand(6) + 0.1
    factors = balancing_factors(left, right, c)
    torch.testing.assert_close(right / factors, c * left * factors)


def test_dead_channels_stay():
    left = torch.tensor([0.0, 1.0, 0.0, float('nan'), 4.0])
    right = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    assert balancing_factors(left, right).tolist() == [1, 1, 1, 1, 0.5]
