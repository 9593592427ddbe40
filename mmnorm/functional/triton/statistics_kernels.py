# Copyright (c) mmnorm contributors. All rights reserved.
"""Statistics of a batch from the plane moments, as Triton kernels.

The sums are in float64; :mod:`mmnorm.functional.statistics` says why.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .specialization import kernel_for_any

kernel = kernel_for_any(
    sizes=(
        'num_channels',
        'num_images',
        'num_pixels',
        'num_planes',
    ),
    pointers=(
        'grad_mean_ptr',
        'grad_sums_ptr',
        'grad_var_ptr',
        'mean_ptr',
        'num_batches_ptr',
        'running_mean_ptr',
        'running_var_ptr',
        'sums_ptr',
        'var_ptr',
    ),
)


@kernel
def batch_sums(
    mean_ptr,
    var_ptr,
    sums_ptr,
    num_images,
    num_channels,
    num_pixels,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < num_channels
    first = tl.zeros((BLOCK,), tl.float64)
    second = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, num_images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        plane = image[:, None] * num_channels + channel[None, :]
        inside = (image < num_images)[:, None] & exists[None, :]
        mean = tl.load(mean_ptr + plane, inside, 0.0).to(tl.float64)
        var = tl.load(var_ptr + plane, inside, 0.0).to(tl.float64)
        first += tl.sum(mean, 0)
        second += tl.sum(var + mean * mean, 0)
    pixels = num_pixels.to(tl.float64)
    tl.store(sums_ptr + channel, pixels * first, exists)
    tl.store(sums_ptr + num_channels + channel, pixels * second, exists)
    if tl.program_id(0) == 0:
        count = pixels * num_images.to(tl.float64)
        tl.store(sums_ptr + 2 * num_channels, count)
        images = num_images.to(tl.float64)
        tl.store(sums_ptr + 2 * num_channels + 1, images)


@kernel
def batch_sums_grad(
    mean_ptr,
    grad_sums_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    num_planes,
    num_channels,
    num_pixels,
    BLOCK: tl.constexpr,
):
    plane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = plane < num_planes
    channel = plane % num_channels
    mean = tl.load(mean_ptr + plane, exists, 0.0).to(tl.float64)
    first = tl.load(grad_sums_ptr + channel, exists, 0.0)
    second = tl.load(grad_sums_ptr + num_channels + channel, exists, 0.0)
    pixels = num_pixels.to(tl.float64)
    grad_mean = pixels * (first + 2.0 * mean * second)
    tl.store(grad_mean_ptr + plane, grad_mean.to(tl.float32), exists)
    tl.store(grad_var_ptr + plane, (pixels * second).to(tl.float32), exists)


@triton.jit
def _moments(sums_ptr, channel, exists, num_channels):
    count = tl.load(sums_ptr + 2 * num_channels)
    divisor = tl.maximum(count, 1.0)
    mean = tl.load(sums_ptr + channel, exists, 0.0) / divisor
    square = tl.load(sums_ptr + num_channels + channel, exists, 0.0) / divisor
    return mean, square - mean * mean, count


@triton.jit
def _new_statistics(mean, var, count, old_mean, KIND: tl.constexpr):
    var = tl.where(var < 0, 0.0, var)  # NaN stays NaN
    if KIND == 'unbiased':
        var = var * count / tl.maximum(count - 1.0, 1.0)
    if KIND == 'estimated':
        var = var + (mean - old_mean) * (mean - old_mean)
    return var


@kernel
def update_statistics(
    sums_ptr,
    running_mean_ptr,
    running_var_ptr,
    num_batches_ptr,
    mean_ptr,
    var_ptr,
    momentum,
    base_batch_size,
    num_channels,
    KIND: tl.constexpr,
    CUMULATIVE: tl.constexpr,
    UPDATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # There is one program, because no channel moves unless all channels are
    # finite.
    min_count = 0.0 if KIND == 'estimated' else 1.0
    valid = 1
    rate = momentum
    if UPDATE:
        for start in range(0, num_channels, BLOCK):
            channel = start + tl.arange(0, BLOCK)
            exists = channel < num_channels
            mean, var, count = _moments(
                sums_ptr, channel, exists, num_channels
            )
            old_mean = tl.load(running_mean_ptr + channel, exists, 0.0)
            old_mean = old_mean.to(tl.float64)
            var = _new_statistics(mean, var, count, old_mean, KIND)
            # NaN - NaN and inf - inf are NaN, and not 0.
            change = tl.where(exists, mean - mean + var - var, 0.0)
            finite = tl.where(change == 0, 1, 0)
            valid = tl.minimum(valid, tl.min(finite, 0))
        count = tl.load(sums_ptr + 2 * num_channels)
        valid = tl.where(count > min_count, valid, 0)
        num_batches = tl.load(num_batches_ptr) + valid
        # Every warp loads the number, and one thread stores it.
        tl.debug_barrier()
        tl.store(num_batches_ptr, num_batches)
        if CUMULATIVE:
            rate = 1.0 / tl.maximum(num_batches, 1).to(tl.float64)
        else:
            batch_size = tl.load(sums_ptr + 2 * num_channels + 1)
            share = batch_size / tl.maximum(base_batch_size, 1.0)
            share = tl.where(base_batch_size > 0, share, 1.0)
            rate = momentum * tl.minimum(share, 1.0)
    for start in range(0, num_channels, BLOCK):
        channel = start + tl.arange(0, BLOCK)
        exists = channel < num_channels
        mean, var, count = _moments(sums_ptr, channel, exists, num_channels)
        old_mean = tl.load(running_mean_ptr + channel, exists, 0.0)
        old_var = tl.load(running_var_ptr + channel, exists, 0.0)
        running_mean = old_mean.to(tl.float64)
        running_var = old_var.to(tl.float64)
        if UPDATE:
            new_var = _new_statistics(mean, var, count, running_mean, KIND)
            running_mean += rate * (mean - running_mean)
            running_var += rate * (new_var - running_var)
            running_mean = tl.where(valid > 0, running_mean, old_mean)
            running_var = tl.where(valid > 0, running_var, old_var)
            moved_mean = running_mean.to(tl.float32)
            moved_var = running_var.to(tl.float32)
            tl.store(running_mean_ptr + channel, moved_mean, exists)
            tl.store(running_var_ptr + channel, moved_var, exists)
        if KIND == 'estimated':
            mean, var = running_mean, running_var
        else:
            var = tl.where(var < 0, 0.0, var)
            mean = tl.where(count > min_count, mean, running_mean)
            var = tl.where(count > min_count, var, running_var)
        tl.store(mean_ptr + channel, mean.to(tl.float32), exists)
        tl.store(var_ptr + channel, var.to(tl.float32), exists)


@kernel
def update_statistics_grad(
    sums_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    grad_sums_ptr,
    num_channels,
    BLOCK: tl.constexpr,
):
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < num_channels
    mean, var, count = _moments(sums_ptr, channel, exists, num_channels)
    grad_mean = tl.load(grad_mean_ptr + channel, exists, 0.0).to(tl.float64)
    grad_var = tl.load(grad_var_ptr + channel, exists, 0.0).to(tl.float64)
    grad_var = tl.where(var >= 0, grad_var, 0.0)
    divisor = tl.maximum(count, 1.0)
    enough = count > 1.0
    first = tl.where(
        enough, (grad_mean - 2.0 * mean * grad_var) / divisor, 0.0
    )
    second = tl.where(enough, grad_var / divisor, 0.0)
    tl.store(grad_sums_ptr + channel, first, exists)
    tl.store(grad_sums_ptr + num_channels + channel, second, exists)
    if tl.program_id(0) == 0:
        tl.store(grad_sums_ptr + 2 * num_channels, count * 0.0)
        tl.store(grad_sums_ptr + 2 * num_channels + 1, count * 0.0)
