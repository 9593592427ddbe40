# Copyright (c) mmnorm contributors. All rights reserved.
"""How the kernels of a fused norm divide an activation among programs."""

import functools
from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor, nn

from .launch_planes import slope_and_name
from .plane_layout import layout, split, written_tiles

# The last program of a team holds TILE numbers of each tensor in registers,
# and PARTS numbers while it merges chunks. With more, all programs of the
# launch would have so many registers that few fit on a GPU.
TILE, PARTS = 512, 512


class _Team(NamedTuple):
    """How the channels of a norm are divided among teams of programs."""

    per_group: int
    channels: int  # per team
    blocks: int  # of rows per team
    teams: int  # per image
    groups: int  # per team
    block: int


class Plan(NamedTuple):
    """Sizes and constants of the launches of one norm."""

    num_programs: int  # each of which reads a chunk of some planes
    num_tiles: int  # each of which a program writes
    num_chunks: int  # per plane
    num_teams: int  # per image
    sizes: tuple[int, ...]  # images, channels, pixels, tiles, channels
    slope: float  # of the activation
    tile: tuple[object, ...]  # constants of the kernels that write
    reads: tuple[object, ...]  # the first constants of those that read
    team: tuple[int, ...]  # the last ones: images, chunks, groups, block
    team_of_image: tuple[int, ...]  # where a team has one image
    types: Hashable
    num_warps: int


def make_plan(
    x: Tensor,
    num_groups: int,
    activation: nn.Module | None,
    parameters: tuple[Tensor | None, ...],
) -> Plan:
    """Return the plan for an activation.

    Args:
        x: Activations.
        num_groups: Number of groups of channels, or 0.
        activation: The fused activation.
        parameters: All tensors whose dtypes may differ between two calls.
    """
    n, c = x.shape[:2]
    tile_blocks, _, num_pixels, tile = layout(x)
    channels_last, aligned, rows, pixels = tile
    per_group, channels, blocks, teams, groups, block = _team(
        c, num_groups, rows
    )
    blocks *= n * teams
    chunk_tiles, chunks = split(blocks, num_pixels, pixels)
    places = groups * block
    images = _images_at_once(n, chunks, places)
    if channels_last and aligned and channels % aligned:
        aligned = 0
    num_tiles, written = written_tiles(x, tile_blocks, num_pixels, tile)
    slope, name = slope_and_name(activation)
    return Plan(
        blocks * chunks,
        num_tiles,
        chunks,
        teams,
        (n, c, num_pixels, chunk_tiles, per_group),
        slope,
        (name, *written),
        (num_groups > 0, channels_last, aligned, rows, pixels),
        (images, _chunks(images, places), groups, block),
        (1, _chunks(1, places), groups, block),
        (
            x.dtype,
            num_pixels >> 31,
            *[None if p is None else p.dtype for p in parameters],
        ),
        8 if block >= 1024 or images > 2 else 4,
    )


@functools.cache
def _team(num_channels: int, num_groups: int, rows: int) -> _Team:
    per_group = num_channels // num_groups if num_groups else rows
    block = 1 << (per_group - 1).bit_length()
    groups = max(rows // block, 1)
    channels = groups * per_group
    blocks, teams = -(-channels // rows), -(-num_channels // channels)
    return _Team(per_group, channels, blocks, teams, groups, block)


def _images_at_once(num_images: int, num_chunks: int, places: int) -> int:
    # A program merges so many images at once. Few images have many chunks,
    # and many images have few. There are three numbers of images, because a
    # kernel is compiled for each.
    if num_images == 1 or 2 * places > TILE:
        return 1
    many = TILE // places
    turns = -(-num_images // many) * num_chunks
    turns_of_two = -(-num_images // 2) * -(-num_chunks // _chunks(2, places))
    return many if num_images > 2 and turns < turns_of_two else 2


def _chunks(images: int, places: int) -> int:
    return max(PARTS // (images * places), 1)
