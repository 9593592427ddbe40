# Copyright (c) mmnorm contributors. All rights reserved.
"""Moments, statistics and coefficients of a norm, as one Triton kernel.

Every program reads a chunk of some planes. The last program of a team has the
moments of its planes, from which it computes their scale and shift. KIND says
what the batch part normalizes with: nothing at all (''), the running
statistics as they are ('given', or 'step', which adds the sums of the batch),
the running statistics after this batch has moved them ('estimated'), or the
moments of the batch ('biased' or 'unbiased', for the variance that enters the
running one). 'sums' leaves the rest to a kernel after the all-reduce.
"""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_tiles import locate_channels
from .plane_tiles import chunk_moments
from .running_kernels import store_sums_of_batch
from .team_coefficients import pool_moments
from .team_statistics import finish_team
from .teams import arrive, kernel, locate_member


@kernel
def moments_and_coefficients(
    x_ptr,
    partial_ptr,
    planes_ptr,
    channels_ptr,
    counters_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    bias_ptr,
    running_mean_ptr,
    running_var_ptr,
    num_batches_ptr,
    batch_sums_ptr,
    num_images,
    num_channels,
    num_pixels,
    chunk_tiles,
    channels_per_group,
    channels_per_weight,
    momentum,
    batch_eps,
    eps,
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
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
    # planes_ptr: mean, variance, scale and shift per plane. channels_ptr:
    # what the batch part normalizes with, and the moments of the batch. A
    # team has one image, or all where the batch counts.
    POOLED: tl.constexpr = KIND != '' and KIND != 'given'
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
    num_teams = tl.cdiv(num_channels, GROUPS * channels_per_group)
    mean, var = chunk_moments(
        x_ptr,
        image,
        channel,
        exists,
        chunk,
        num_channels,
        num_pixels,
        chunk_size,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    out = (image * num_channels + channel) * num_chunks + chunk
    tl.store(partial_ptr + out, mean, exists)
    tl.store(partial_ptr + num_planes * num_chunks + out, var, exists)
    if POOLED:
        first_image = image * 0
        last_image = num_images
        members *= num_images
        counter_ptr = counters_ptr + 1 + team
    else:
        first_image = image
        last_image = image + 1
        counter_ptr = counters_ptr + 1 + image * num_teams + team
    if arrive(counter_ptr, 1) == members - 1:
        tl.store(counter_ptr, 0)
        # These may be more channels than those of the chunk.
        own, own_exists = locate_channels(
            team * GROUPS * channels_per_group,
            num_channels,
            channels_per_group,
            GROUPS,
            BLOCK,
        )
        pooled_mean, pooled_var = pool_moments(
            partial_ptr,
            planes_ptr,
            own,
            own_exists,
            first_image,
            last_image,
            num_images,
            num_channels,
            num_pixels,
            chunk_size,
            IMAGES,
            CHUNKS,
            GROUPS * BLOCK,
        )
        if KIND == 'sums' or KIND == 'step':
            store_sums_of_batch(
                batch_sums_ptr,
                own,
                own_exists,
                pooled_mean,
                pooled_var,
                num_images,
                num_pixels,
                num_channels,
                team,
                KIND == 'step',
            )
        if KIND != 'sums':
            tl.debug_barrier()  # other threads have stored the moments
            finish_team(
                planes_ptr,
                channels_ptr,
                counters_ptr,
                gamma_ptr,
                beta_ptr,
                weight_ptr,
                bias_ptr,
                running_mean_ptr,
                running_var_ptr,
                num_batches_ptr,
                own,
                own_exists,
                pooled_mean,
                pooled_var,
                num_images.to(tl.float32) * num_pixels.to(tl.float32),
                first_image,
                last_image,
                num_images,
                num_channels,
                num_teams,
                channels_per_group,
                channels_per_weight,
                momentum,
                batch_eps,
                eps,
                KIND,
                CUMULATIVE,
                HAS_GROUPS,
                IMAGES,
                GROUPS,
                BLOCK,
            )
