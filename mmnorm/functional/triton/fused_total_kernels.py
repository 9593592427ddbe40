# Copyright (c) mmnorm contributors. All rights reserved.
"""The part of a fused norm that waits for other processes, as two kernels.

One runs after the all-reduce of the forward, and one after that of the
backward. A program has the planes of a team, as the last program of the team
has where no process waits.
"""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_tiles import locate_channels
from .team_statistics import finish_team
from .teams import add_through_batch, kernel


@kernel
def coefficients_of_total(
    batch_sums_ptr,
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
    num_images,
    num_channels,
    channels_per_group,
    channels_per_weight,
    momentum,
    base_batch_size,
    batch_eps,
    eps,
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    own, own_exists = locate_channels(
        tl.program_id(0) * GROUPS * channels_per_group,
        num_channels,
        channels_per_group,
        GROUPS,
        BLOCK,
    )
    # A division in float64 is a call, around which registers would spill.
    count = tl.load(batch_sums_ptr + 2 * num_channels)
    share = 1.0 / count
    mean = share * tl.load(batch_sums_ptr + own, own_exists, 0.0)
    second_ptr = batch_sums_ptr + num_channels + own
    second = share * tl.load(second_ptr, own_exists, 0.0)
    # Comparisons with NaN are false, so a NaN stays.
    var = second - mean * mean
    var = tl.where(var < 0.0, 0.0, var)
    rate = momentum
    if base_batch_size > 0:
        images = tl.load(batch_sums_ptr + 2 * num_channels + 1).to(tl.float32)
        rate *= tl.minimum(images / base_batch_size, 1.0)
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
        mean.to(tl.float32),
        var.to(tl.float32),
        count.to(tl.float32),
        0,
        num_images,
        num_images,
        num_channels,
        tl.num_programs(0),
        channels_per_group,
        channels_per_weight,
        rate,
        batch_eps,
        eps,
        KIND,
        CUMULATIVE,
        HAS_GROUPS,
        IMAGES,
        GROUPS,
        BLOCK,
    )


@kernel
def add_gradient_of_total(
    batch_sums_ptr,
    grad_batch_sums_ptr,
    planes_ptr,
    channels_ptr,
    grad_planes_ptr,
    num_images,
    num_channels,
    num_pixels,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # grad_batch_sums_ptr: gradients of the sums, by all processes.
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < num_channels
    grad_ptr = grad_batch_sums_ptr + channel
    count = tl.load(batch_sums_ptr + 2 * num_channels)
    mean = tl.load(channels_ptr + 2 * num_channels + channel, exists, 0.0)
    grad_var = count * tl.load(grad_ptr + num_channels, exists, 0.0)
    grad_mean = count * tl.load(grad_ptr, exists, 0.0)
    grad_mean += 2.0 * mean.to(tl.float64) * grad_var
    add_through_batch(
        grad_planes_ptr,
        planes_ptr,
        grad_mean.to(tl.float32),
        grad_var.to(tl.float32),
        mean,
        channel,
        exists,
        num_images,
        num_channels,
        (num_pixels / count).to(tl.float32),
        IMAGES,
    )
