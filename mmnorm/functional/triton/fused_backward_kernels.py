# Copyright (c) mmnorm contributors. All rights reserved.
"""Gradients of all that a norm computes per plane, as one Triton kernel.

Every program reads a chunk of some planes of ``dy`` and ``x``. The last
program of a team computes the gradients of the moments and the parameters.
"""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_tiles import locate_channels
from .plane_tiles import chunk_sums
from .team_gradients import store_gradients, store_sums
from .teams import arrive, kernel, locate_member


@kernel
def sums_and_gradients(
    x_ptr,
    dy_ptr,
    planes_ptr,
    channels_ptr,
    partial_ptr,
    grad_planes_ptr,
    grad_parameters_ptr,
    batch_sums_ptr,
    grad_batch_sums_ptr,
    counters_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    num_images,
    num_channels,
    num_pixels,
    chunk_tiles,
    channels_per_group,
    channels_per_weight,
    slope,
    share,
    batch_eps,
    eps,
    GRADIENT: tl.constexpr,
    HAS_BATCH: tl.constexpr,
    WEIGHT_PER_GROUP: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
    IMAGES: tl.constexpr,
    CHUNKS: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # GRADIENT is that of what the batch part normalizes with: of constants
    # (''), of each 'image', of the 'batch', or of the 'total' of all
    # processes, which another kernel finishes after the all-reduce. 'sums'
    # leaves everything to another kernel, which needs the gradients of scale
    # and shift. A team has all images, because the gradients of parameters are
    # sums over them.
    image, team, channel, chunk, exists, members = locate_member(
        num_channels,
        num_pixels,
        chunk_tiles,
        channels_per_group,
        CHANNELS_LAST,
        ALIGNED,
        GROUPS,
        ROWS,
        PIXELS,
    )
    num_planes = num_images * num_channels
    chunk_size = chunk_tiles * PIXELS
    num_chunks = tl.cdiv(num_pixels, chunk_size)
    plane = image * num_channels + channel
    scales_ptr = planes_ptr + 2 * num_planes
    product, total = chunk_sums(
        dy_ptr,
        x_ptr,
        image,
        channel,
        exists,
        tl.load(planes_ptr + plane, exists, 0.0),
        tl.load(scales_ptr + plane, exists, 0.0),
        tl.load(scales_ptr + num_planes + plane, exists, 0.0),
        slope,
        chunk,
        num_channels,
        num_pixels,
        chunk_size,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    out = plane * num_chunks + chunk
    tl.store(partial_ptr + out, product, exists)
    tl.store(partial_ptr + num_planes * num_chunks + out, total, exists)
    if arrive(counters_ptr + team, 1) == members * num_images - 1:
        tl.store(counters_ptr + team, 0)
        # These may be more channels than those of the chunk.
        own, own_exists = locate_channels(
            team * GROUPS * channels_per_group,
            num_channels,
            channels_per_group,
            GROUPS,
            BLOCK,
        )
        if GRADIENT == 'sums':
            store_sums(
                partial_ptr,
                grad_planes_ptr,
                own,
                own_exists,
                num_images,
                num_channels,
                num_chunks,
                IMAGES,
                CHUNKS,
                GROUPS * BLOCK,
            )
        else:
            store_gradients(
                planes_ptr,
                channels_ptr,
                partial_ptr,
                grad_planes_ptr,
                grad_parameters_ptr,
                batch_sums_ptr,
                grad_batch_sums_ptr,
                gamma_ptr,
                beta_ptr,
                weight_ptr,
                team,
                own,
                own_exists,
                num_images,
                num_channels,
                num_chunks,
                channels_per_group,
                channels_per_weight,
                share,
                batch_eps,
                eps,
                GRADIENT,
                HAS_BATCH,
                WEIGHT_PER_GROUP,
                HAS_GROUPS,
                IMAGES,
                CHUNKS,
                GROUPS,
                BLOCK,
            )
