# Copyright (c) mmnorm contributors. All rights reserved.
"""Kernels are compiled a few times, whatever number and size of images."""

import pytest
import torch
from torch import nn

from mmnorm.functional.triton.launch_coefficients import images_per_tile
from mmnorm.functional.triton.plan import make_plan

# A detector meets any of these sizes, and any number of regions.
SIZES = [(s, s + 7 * i) for i, s in enumerate((1, 7, 14, 25, 28, 42, 50))]
SIZES += [(96 + 8 * i, 160 - 5 * i) for i in range(13)]
NUMBERS = range(1, 257)


def entries(num_channels: int, num_groups: int, channels_last: bool) -> set:
    """Return what the fused kernels of a norm are compiled for."""
    found = set()
    for n in NUMBERS:
        for size in SIZES:
            x = torch.empty(n, num_channels, *size, device='meta')
            if channels_last:
                x = x.to(memory_format=torch.channels_last)
            plan = make_plan(x, num_groups, nn.ReLU(), ())
            found.add(
                (
                    *(plan.reads, plan.team, plan.team_of_image),
                    *(plan.tile, plan.types, plan.num_warps),
                )
            )
    return found


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(
    ('num_channels', 'num_groups'), [(256, 32), (64, 32), (1024, 1), (256, 0)]
)
def test_fused_kernels(num_channels, num_groups, channels_last):
    found = entries(num_channels, num_groups, channels_last)
    # One, two or many images, in rows that begin at multiples of 16 bytes or
    # not. A tensor with one pixel per plane is contiguous in both formats.
    assert 1 < len(found) <= 6
    for is_last in {reads[1] for reads, *_ in found}:
        images = {team[0] for reads, team, *_ in found if reads[1] == is_last}
        assert len(images) <= 3


@pytest.mark.parametrize('block', [1, 8, 64, 1024, 2048])
def test_kernels_of_the_coefficients(block):
    assert len({images_per_tile(n, block) for n in NUMBERS}) <= 3
