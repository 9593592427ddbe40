# Copyright (c) mmnorm contributors. All rights reserved.
"""Moments, statistics and coefficients of a norm, as one Triton kernel.

Every program reads a chunk of some planes. The last program of a team has the
moments of its planes, from which it computes their scale and shift. KIND says
what the batch part normalizes with: nothing at all (''), the running
statistics as they are ('given', or 'step', which adds the sums of the batch),
the running statistics after this batch has moved them ('estimated'), or the
moments of the batch ('biased' or 'unbiased', for the variance that enters the
running one).
"""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_tiles import load, locate_channels
from .plane_tiles import chunk_moments
from .running_kernels import (
    add_step_sums,
    is_finite,
    move_running,
    new_statistics,
)
from .team_coefficients import pool_moments, write_coefficients
from .teams import arrive, kernel, locate_member

# A team whose moments are not finite adds so much to the counter of teams.
NOT_FINITE = tl.constexpr(2**16)


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
    step_sums_ptr,
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
    HAS_BATCH: tl.constexpr = KIND != ''
    POOLED: tl.constexpr = HAS_BATCH and KIND != 'given'
    MOVES: tl.constexpr = POOLED and KIND != 'step'
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
        batch_mean = tl.zeros_like(pooled_mean)
        batch_var = tl.zeros_like(pooled_mean)
        if HAS_BATCH:
            batch_mean = load(running_mean_ptr, own, own_exists, 0.0)
            batch_var = load(running_var_ptr, own, own_exists, 0.0)
        if KIND == 'step':
            add_step_sums(
                step_sums_ptr,
                own,
                own_exists,
                pooled_mean,
                pooled_var,
                num_images,
                num_pixels,
                num_channels,
                team,
            )
        if POOLED:
            of_batch_ptr = channels_ptr + 2 * num_channels + own
            tl.store(of_batch_ptr, pooled_mean, own_exists)
            tl.store(of_batch_ptr + num_channels, pooled_var, own_exists)
        not_finite = 0
        if MOVES:
            new_mean, new_var = new_statistics(
                pooled_mean,
                pooled_var,
                batch_mean,
                batch_var,
                num_images,
                num_pixels,
                num_batches_ptr,
                momentum,
                KIND,
                CUMULATIVE,
            )
            not_finite = 1 - is_finite(pooled_mean + new_var, own_exists)
            if KIND == 'estimated':
                batch_mean = new_mean
                batch_var = new_var
            else:
                batch_mean = pooled_mean
                batch_var = pooled_var
        tl.debug_barrier()  # other threads have stored the moments
        write_coefficients(
            planes_ptr,
            channels_ptr,
            gamma_ptr,
            beta_ptr,
            weight_ptr,
            bias_ptr,
            own,
            own_exists,
            batch_mean,
            batch_var,
            first_image,
            last_image,
            num_images,
            num_channels,
            channels_per_group,
            channels_per_weight,
            batch_eps,
            eps,
            HAS_BATCH,
            HAS_GROUPS,
            IMAGES,
            GROUPS,
            BLOCK,
        )
        if MOVES:
            # No own moves unless all channels are finite, so the last of
            # all teams decides.
            arrived = arrive(counters_ptr, 1 + not_finite * NOT_FINITE)
            if arrived % NOT_FINITE == num_teams - 1:
                tl.store(counters_ptr, 0)
                if arrived // NOT_FINITE + not_finite == 0:
                    move_running(
                        channels_ptr,
                        running_mean_ptr,
                        running_var_ptr,
                        num_batches_ptr,
                        num_images,
                        num_pixels,
                        num_channels,
                        momentum,
                        KIND,
                        CUMULATIVE,
                    )
                elif KIND == 'estimated':
                    for other in range(0, num_teams):
                        own, own_exists = locate_channels(
                            other * GROUPS * channels_per_group,
                            num_channels,
                            channels_per_group,
                            GROUPS,
                            BLOCK,
                        )
                        write_coefficients(
                            planes_ptr,
                            channels_ptr,
                            gamma_ptr,
                            beta_ptr,
                            weight_ptr,
                            bias_ptr,
                            own,
                            own_exists,
                            load(running_mean_ptr, own, own_exists, 0.0),
                            load(running_var_ptr, own, own_exists, 0.0),
                            first_image,
                            last_image,
                            num_images,
                            num_channels,
                            channels_per_group,
                            channels_per_weight,
                            batch_eps,
                            eps,
                            HAS_BATCH,
                            HAS_GROUPS,
                            IMAGES,
                            GROUPS,
                            BLOCK,
                        )
