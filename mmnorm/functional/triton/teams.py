# Copyright (c) mmnorm contributors. All rights reserved.
"""Teams of programs, of which the last to arrive finishes the work of all.

A tensor of numbers per plane comes from all programs that read the plane, and
a launch that waits for another launch costs the host more than the GPU needs
for its work. Therefore the programs that read the planes of some groups of
channels are a team. Each program stores its part and counts itself. The last
one sees all parts, and adds them in an order that does not depend on which
program is the last.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .specialization import kernel_for_any
from .tiles import multiple_of

kernel = kernel_for_any(
    sizes=(
        'channels_per_group',
        'channels_per_weight',
        'chunk_tiles',
        'num_channels',
        'num_images',
        'num_pixels',
    ),
    pointers=(
        'batch_sums_ptr',
        'beta_ptr',
        'bias_ptr',
        'channels_ptr',
        'counters_ptr',
        'gamma_ptr',
        'grad_batch_sums_ptr',
        'grad_parameters_ptr',
        'grad_planes_ptr',
        'num_batches_ptr',
        'partial_ptr',
        'planes_ptr',
        'running_mean_ptr',
        'running_var_ptr',
        'weight_ptr',
    ),
)


@triton.jit
def locate_member(
    num_channels,
    num_pixels,
    chunk_tiles,
    channels_per_group,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # The result is the image, the team within an image, the channels and the
    # chunk of this program, the mask of the channels, and the number of
    # programs of a team in one image. A team has whole groups: GROUPS of
    # them, or one that may fill several blocks of rows. Consecutive programs
    # work on neighbors in memory.
    program = tl.program_id(0)
    team_channels = GROUPS * channels_per_group
    team_channels = multiple_of(team_channels, CHANNELS_LAST and ALIGNED)
    num_channels = multiple_of(num_channels, CHANNELS_LAST and ALIGNED)
    team_blocks = tl.cdiv(team_channels, ROWS)
    blocks = tl.cdiv(num_channels, team_channels) * team_blocks
    chunks = tl.cdiv(num_pixels, chunk_tiles * PIXELS)
    image = program // (blocks * chunks)
    if CHANNELS_LAST:
        block = program % blocks
        chunk = program // blocks % chunks
    else:
        block = program // chunks % blocks
        chunk = program % chunks
    team = block // team_blocks
    place = block % team_blocks * ROWS + tl.arange(0, ROWS)
    channel = team * team_channels + place
    exists = (place < team_channels) & (channel < num_channels)
    return image, team, channel, chunk, exists, team_blocks * chunks


@triton.jit
def arrive(counter_ptr, step):
    # The result is how far the counter was. The barrier orders the stores of
    # all threads before the count, which one thread does.
    tl.debug_barrier()
    return tl.atomic_add(counter_ptr, step, sem='acq_rel', scope='gpu')


@triton.jit
def merge_moments(
    partial_ptr,
    plane,
    exists,
    num_planes,
    num_pixels,
    chunk_size,
    CHUNKS: tl.constexpr,
):
    # Means are relative to the first mean for accuracy, as squares are
    # relative to the mean. Other programs have stored the parts: a load past
    # the nearest cache sees them.
    num_chunks = tl.cdiv(num_pixels, chunk_size)
    vars_ptr = partial_ptr + num_planes * num_chunks
    first = tl.load(
        partial_ptr + plane * num_chunks, exists, 0.0, cache_modifier='.cg'
    )
    offset = tl.zeros_like(first)
    for start in range(0, num_chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        inside = exists[:, None] & (chunk < num_chunks)[None, :]
        at = plane[:, None] * num_chunks + chunk[None, :]
        means = tl.load(partial_ptr + at, inside, 0.0, cache_modifier='.cg')
        rest = tl.minimum(num_pixels - chunk * chunk_size, chunk_size)
        shares = tl.maximum(rest, 0).to(tl.float32) / num_pixels
        offset += tl.sum((means - first[:, None]) * shares[None, :], 1)
    mean = first + offset
    var = tl.zeros_like(first)
    for start in range(0, num_chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        inside = exists[:, None] & (chunk < num_chunks)[None, :]
        at = plane[:, None] * num_chunks + chunk[None, :]
        means = tl.load(partial_ptr + at, inside, 0.0, cache_modifier='.cg')
        squares = tl.load(vars_ptr + at, inside, 0.0, cache_modifier='.cg')
        offsets = means - first[:, None] - offset[:, None]
        rest = tl.minimum(num_pixels - chunk * chunk_size, chunk_size)
        shares = tl.maximum(rest, 0).to(tl.float32) / num_pixels
        squares += offsets * offsets
        var += tl.sum(squares * shares[None, :], 1)
    return mean, var


@triton.jit
def merge_sums(
    partial_ptr, plane, exists, num_planes, num_chunks, CHUNKS: tl.constexpr
):
    totals_ptr = partial_ptr + num_planes * num_chunks
    product = tl.zeros_like(plane).to(tl.float32)
    total = tl.zeros_like(plane).to(tl.float32)
    for start in range(0, num_chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        inside = exists[:, None] & (chunk < num_chunks)[None, :]
        at = plane[:, None] * num_chunks + chunk[None, :]
        products = tl.load(partial_ptr + at, inside, 0.0, cache_modifier='.cg')
        totals = tl.load(totals_ptr + at, inside, 0.0, cache_modifier='.cg')
        product += tl.sum(products, 1)
        total += tl.sum(totals, 1)
    return product, total


@triton.jit
def add_through_batch(
    grad_planes_ptr,
    planes_ptr,
    grad_mean,
    grad_var,
    mean,
    channel,
    exists,
    num_images,
    num_channels,
    part,
    IMAGES: tl.constexpr,
):
    # grad_mean and grad_var are those of the moments of the batch, of which a
    # plane is a part.
    num_planes = num_images * num_channels
    for start in range(0, num_images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < num_images)[:, None] & exists[None, :]
        plane = image[:, None] * num_channels + channel[None, :]
        offset = tl.load(planes_ptr + plane, inside, 0.0) - mean[None, :]
        mean_ptr = grad_planes_ptr + plane
        var_ptr = mean_ptr + num_planes
        of_mean = grad_mean[None, :] + 2.0 * offset * grad_var[None, :]
        old_mean = tl.load(mean_ptr, inside, 0.0, cache_modifier='.cg')
        old_var = tl.load(var_ptr, inside, 0.0, cache_modifier='.cg')
        of_mean = old_mean + part * of_mean
        of_var = old_var + part * grad_var[None, :]
        tl.store(mean_ptr, of_mean, inside)
        tl.store(var_ptr, of_var, inside)


@triton.jit
def store_gradients_of_sums(
    batch_sums_ptr,
    grad_batch_sums_ptr,
    grad_mean,
    grad_var,
    mean,
    channel,
    exists,
    num_channels,
):
    # The mean is first / count and the variance second / count - mean * mean,
    # where first and second are the sums that all processes have added. One
    # value has no variance, and therefore no gradient.
    count = tl.load(batch_sums_ptr + 2 * num_channels)
    part = tl.where(count > 1.0, 1.0 / count, 0.0)
    second = part * grad_var.to(tl.float64)
    first = part * grad_mean.to(tl.float64)
    first -= 2.0 * mean.to(tl.float64) * second
    tl.store(grad_batch_sums_ptr + channel, first, exists)
    tl.store(grad_batch_sums_ptr + num_channels + channel, second, exists)
    # The counts have no gradient.
    last_ptr = grad_batch_sums_ptr + 2 * num_channels
    is_last = exists & (channel == num_channels - 1)
    tl.store(last_ptr + 0 * channel, second * 0.0, is_last)
    tl.store(last_ptr + 1 + 0 * channel, second * 0.0, is_last)
