# Copyright (c) mmnorm contributors. All rights reserved.
"""Move the running statistics in the last program of a team, and normalize."""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .batch_channel_tiles import load, locate_channels
from .running_kernels import is_finite, move_running, new_statistics
from .team_coefficients import write_coefficients
from .teams import arrive

# A team whose moments are not finite adds so much to the counter of teams.
NOT_FINITE = tl.constexpr(2**16)


@triton.jit
def finish_team(
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
    mean,
    var,
    count,
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
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # mean and var are the moments of the batch, with count values in each of
    # the team's own channels. The moments of the planes are in planes_ptr.
    HAS_BATCH: tl.constexpr = KIND != ''
    POOLED: tl.constexpr = HAS_BATCH and KIND != 'given'
    MOVES: tl.constexpr = POOLED and KIND != 'step'
    batch_mean = tl.zeros_like(mean)
    batch_var = tl.zeros_like(mean)
    if HAS_BATCH:
        batch_mean = load(running_mean_ptr, own, own_exists, 0.0)
        batch_var = load(running_var_ptr, own, own_exists, 0.0)
    if POOLED:
        of_batch_ptr = channels_ptr + 2 * num_channels + own
        tl.store(of_batch_ptr, mean, own_exists)
        tl.store(of_batch_ptr + num_channels, var, own_exists)
    not_finite = 0
    if MOVES:
        new_mean, new_var = new_statistics(
            mean,
            var,
            batch_mean,
            batch_var,
            count,
            num_batches_ptr,
            momentum,
            KIND,
            CUMULATIVE,
        )
        not_finite = 1 - is_finite(mean + new_var, own_exists)
        if KIND == 'estimated':
            batch_mean = new_mean
            batch_var = new_var
        else:
            # One value has no variance.
            not_finite = tl.where(count > 1.0, not_finite, 1)
            batch_mean = tl.where(count > 1.0, mean, batch_mean)
            batch_var = tl.where(count > 1.0, var, batch_var)
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
        # No own moves unless all channels are finite, so the last of all
        # teams decides.
        arrived = arrive(counters_ptr, 1 + not_finite * NOT_FINITE)
        if arrived % NOT_FINITE == num_teams - 1:
            tl.store(counters_ptr, 0)
            if arrived // NOT_FINITE + not_finite == 0:
                move_running(
                    channels_ptr,
                    running_mean_ptr,
                    running_var_ptr,
                    num_batches_ptr,
                    count,
                    num_channels,
                    momentum,
                    KIND,
                    CUMULATIVE,
                )
            elif KIND == 'estimated':
                for other in range(0, num_teams):
                    # Other names than above, where these are int64 for large
                    # planes: a loop cannot change the type of a name.
                    others, exist = locate_channels(
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
                        others,
                        exist,
                        load(running_mean_ptr, others, exist, 0.0),
                        load(running_var_ptr, others, exist, 0.0),
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
