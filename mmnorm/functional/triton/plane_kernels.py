# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, as Triton kernels."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .tiles import kernel, locate_chunk, locate_tile, tile_offsets


@triton.jit
def activate(z, slope, ACTIVATION: tl.constexpr):
    if ACTIVATION == 'relu':
        z = tl.where(z <= 0, 0.0, z)  # NaN stays NaN
    elif ACTIVATION == 'leaky_relu':
        z = tl.where(z > 0, z, slope * z)
    elif ACTIVATION == 'silu':
        z = z * tl.sigmoid(z)
    return z


@triton.jit
def activation_grad(dy, z, slope, ACTIVATION: tl.constexpr):
    # dy is the gradient of the activated z; the result is that of z.
    if ACTIVATION == 'relu':
        dy = tl.where(z > 0, dy, 0.0)
    elif ACTIVATION == 'leaky_relu':
        dy = tl.where(z > 0, dy, slope * dy)
    elif ACTIVATION == 'silu':
        share = tl.sigmoid(z)
        dy = dy * share * (1 + z * (1 - share))
    return dy


@kernel
def moments(
    x_ptr,
    mean_ptr,
    var_ptr,
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # A tile stays in registers: the kernel computes its mean first, then the
    # squares about its mean. The order is accurate where the mean is large,
    # and needs no division per pixel. The formula of Chan, Golub and LeVeque
    # merges the tiles. Division is exact, because the fast division of a GPU
    # would give a constant plane a variance.
    image, row, chunk, num_chunks = locate_chunk(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    first = chunk * chunk_tiles * PIXELS
    last = tl.minimum(first + chunk_tiles * PIXELS, num_pixels)
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = tile_offsets(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        count_before = (start - first).to(tl.float32)
        count = tl.minimum(last - start, PIXELS).to(tl.float32)
        tile_mean = tl.div_rn(tl.sum(x, 1), count)
        centered = tl.where(inside, x - tile_mean[:, None], 0.0)
        delta = tile_mean - mean
        share = tl.div_rn(count, count_before + count)
        mean += delta * share
        tile_squares = tl.sum(centered * centered, 1)
        squares += tile_squares + delta * delta * share * count_before
    out = plane * num_chunks + chunk
    tl.store(mean_ptr + out, mean, row < num_rows)
    count = (last - first).to(tl.float32)
    tl.store(var_ptr + out, squares / count, row < num_rows)


@kernel
def merge(
    means_ptr,
    vars_ptr,
    mean_ptr,
    var_ptr,
    num_planes,
    num_pixels,
    chunk_size,
    PLANES: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    # All chunks of a plane are in registers at once, and are always added in
    # the same order. Means are relative to the first mean for accuracy, as
    # squares are relative to the mean.
    num_chunks = tl.cdiv(num_pixels, chunk_size)
    plane = tl.program_id(0) * PLANES + tl.arange(0, PLANES)
    chunk = tl.arange(0, CHUNKS).to(tl.int64)
    offset = plane[:, None] * num_chunks + chunk[None, :]
    exists = plane < num_planes
    inside = exists[:, None] & (chunk < num_chunks)[None, :]
    first_mean = tl.load(means_ptr + plane * num_chunks, exists, 0.0)
    means = tl.load(means_ptr + offset, inside, 0.0)
    variances = tl.load(vars_ptr + offset, inside, 0.0)
    # The last chunk may be shorter, and chunks after it have no pixels.
    rest = tl.minimum(num_pixels - chunk * chunk_size, chunk_size)
    shares = tl.maximum(rest, 0).to(tl.float32) / num_pixels
    offsets = means - first_mean[:, None]
    mean_offset = tl.sum(offsets * shares[None, :], 1)
    offsets -= mean_offset[:, None]
    var = tl.sum((variances + offsets * offsets) * shares[None, :], 1)
    tl.store(mean_ptr + plane, first_mean + mean_offset, exists)
    tl.store(var_ptr + plane, var, exists)


@kernel
def affine(
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    y_ptr,
    slope,
    num_rows,
    num_pixels,
    chunk_tiles,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    plane, exists, offset, inside = locate_tile(
        num_rows,
        num_pixels,
        chunk_tiles,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, exists, 0.0)
    scale = tl.load(scale_ptr + plane, exists, 0.0)
    shift = tl.load(shift_ptr + plane, exists, 0.0)
    z = scale[:, None] * (x - mean[:, None]) + shift[:, None]
    tl.store(y_ptr + offset, activate(z, slope, ACTIVATION), inside)


@kernel
def sums(
    dy_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    product_ptr,
    total_ptr,
    slope,
    num_rows,
    num_pixels,
    chunk_tiles,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Each position of a tile has its own accumulators. The sum over a tile
    # comes last, because plain sums need no merging.
    image, row, chunk, num_chunks = locate_chunk(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    exists = row < num_rows
    mean = tl.load(mean_ptr + plane, exists, 0.0)
    scale = tl.load(scale_ptr + plane, exists, 0.0)
    shift = tl.load(shift_ptr + plane, exists, 0.0)
    first = chunk * chunk_tiles * PIXELS
    last = tl.minimum(first + chunk_tiles * PIXELS, num_pixels)
    product = tl.zeros((ROWS, PIXELS), tl.float32)
    total = tl.zeros((ROWS, PIXELS), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = tile_offsets(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
        centered = x - mean[:, None]
        z = scale[:, None] * centered + shift[:, None]
        dz = activation_grad(dy, z, slope, ACTIVATION)
        product += dz * centered
        total += dz
    out = plane * num_chunks + chunk
    tl.store(product_ptr + out, tl.sum(product, 1), exists)
    tl.store(total_ptr + out, tl.sum(total, 1), exists)


@kernel
def input_grad(
    dy_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    dx_ptr,
    slope,
    num_rows,
    num_pixels,
    chunk_tiles,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    plane, exists, offset, inside = locate_tile(
        num_rows,
        num_pixels,
        chunk_tiles,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, exists, 0.0)
    scale = tl.load(scale_ptr + plane, exists, 0.0)
    shift = tl.load(shift_ptr + plane, exists, 0.0)
    grad_mean = tl.load(grad_mean_ptr + plane, exists, 0.0)
    grad_var = tl.load(grad_var_ptr + plane, exists, 0.0)
    through_var = 2.0 * grad_var / num_pixels
    through_mean = grad_mean / num_pixels
    centered = x - mean[:, None]
    z = scale[:, None] * centered + shift[:, None]
    dz = activation_grad(dy, z, slope, ACTIVATION)
    dx = scale[:, None] * dz + through_var[:, None] * centered
    tl.store(dx_ptr + offset, dx + through_mean[:, None], inside)
