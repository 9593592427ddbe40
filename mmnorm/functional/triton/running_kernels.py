# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics, moved inside of the kernel that has the moments.

The functions are those of :mod:`mmnorm.functional.statistics` for one
process. They work on centered moments, and need no float64.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

CHANNELS_AT_ONCE = tl.constexpr(256)


@triton.jit
def is_finite(value, exists):
    # NaN - NaN and inf - inf are NaN, and not 0.
    finite = tl.where(exists, value - value, 0.0) == 0
    return tl.min(finite.to(tl.int32), 0)


@triton.jit
def new_statistics(
    mean,
    var,
    running_mean,
    running_var,
    count,
    num_batches_ptr,
    momentum,
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
):
    # mean and var are the moments of a batch with count values per channel.
    # The result is the running statistics that follow.
    if KIND == 'estimated':
        new_var = var + (mean - running_mean) * (mean - running_mean)
    elif KIND == 'biased':
        new_var = var
    else:
        new_var = var * (count / (count - 1.0))
    rate = momentum
    if CUMULATIVE:  # the mean of all batches so far
        rate = 1.0 / (tl.load(num_batches_ptr) + 1).to(tl.float32)
    moved_mean = running_mean + rate * (mean - running_mean)
    moved_var = running_var + rate * (new_var - running_var)
    return moved_mean, moved_var


@triton.jit
def move_running(
    channels_ptr,
    running_mean_ptr,
    running_var_ptr,
    num_batches_ptr,
    count,
    num_channels,
    momentum,
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
):
    # Other programs have stored the moments of the batch.
    for start in range(0, num_channels, CHANNELS_AT_ONCE):
        channel = start + tl.arange(0, CHANNELS_AT_ONCE)
        exists = channel < num_channels
        batch_ptr = channels_ptr + 2 * num_channels + channel
        mean = tl.load(batch_ptr, exists, 0.0, cache_modifier='.cg')
        batch_ptr += num_channels
        var = tl.load(batch_ptr, exists, 0.0, cache_modifier='.cg')
        moved_mean, moved_var = new_statistics(
            mean,
            var,
            tl.load(running_mean_ptr + channel, exists, 0.0),
            tl.load(running_var_ptr + channel, exists, 0.0),
            count,
            num_batches_ptr,
            momentum,
            KIND,
            CUMULATIVE,
        )
        tl.store(running_mean_ptr + channel, moved_mean, exists)
        tl.store(running_var_ptr + channel, moved_var, exists)
    num_batches = tl.load(num_batches_ptr) + 1
    # Every warp loads the number, and one thread stores it.
    tl.debug_barrier()
    tl.store(num_batches_ptr, num_batches)


@triton.jit
def store_sums_of_batch(
    sums_ptr,
    channel,
    exists,
    mean,
    var,
    num_images,
    num_pixels,
    num_channels,
    team,
    ADD: tl.constexpr,
):
    # The sums are in float64, where raw second moments can afford to cancel.
    # With ADD they count since the last update.
    images = num_images.to(tl.float64)
    count = images * num_pixels.to(tl.float64)
    mean = mean.to(tl.float64)
    first = count * mean
    second = count * (var.to(tl.float64) + mean * mean)
    first_ptr = sums_ptr + channel
    second_ptr = first_ptr + num_channels
    if ADD:
        first += tl.load(first_ptr, exists, 0.0)
        second += tl.load(second_ptr, exists, 0.0)
    tl.store(first_ptr, first, exists)
    tl.store(second_ptr, second, exists)
    if team == 0:
        count_ptr = sums_ptr + 2 * num_channels
        if ADD:
            count += tl.load(count_ptr)
            images += tl.load(count_ptr + 1)
            tl.debug_barrier()  # every warp loads, and one thread stores
        tl.store(count_ptr, count)
        tl.store(count_ptr + 1, images)
