# Copyright (c) mmnorm contributors. All rights reserved.
"""The Triton kernels of the passes over an activation."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .tiles import kernel, one_tile, place, tile


@triton.jit
def activate(z, slope, ACTIVATION: tl.constexpr):
    if ACTIVATION == 'relu':
        z = tl.where(z <= 0, 0.0, z)  # not a number remains so
    elif ACTIVATION == 'leaky_relu':
        z = tl.where(z > 0, z, slope * z)
    elif ACTIVATION == 'silu':
        z = z * tl.sigmoid(z)
    return z


@triton.jit
def before_activation(dy, z, slope, ACTIVATION: tl.constexpr):
    # The gradient of z from that of the activated z.
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
    # The mean of a tile first, then the squares about it, from registers:
    # right where the mean is large, and without a division for each number.
    # Tiles are merged by the formula of Chan, Golub and LeVeque. Division is
    # the exact one, not the GPU's fast one, which would give a constant
    # plane a variance.
    image, row, chunk, num_chunks = place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    first = chunk * chunk_tiles * PIXELS
    last = tl.minimum(first + chunk_tiles * PIXELS, num_pixels)
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = tile(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        before = (start - first).to(tl.float32)
        count = tl.minimum(last - start, PIXELS).to(tl.float32)
        tile_mean = tl.div_rn(tl.sum(x, 1), count)
        centered = tl.where(inside, x - tile_mean[:, None], 0.0)
        step = tile_mean - mean
        share = tl.div_rn(count, before + count)
        mean += step * share
        squares += (
            tl.sum(centered * centered, 1) + step * step * share * before
        )
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
    # All chunks of a plane are in registers at once, and are added in the
    # same order each time. Their means are taken from the first of them, for
    # the same reason that squares are taken from the mean.
    num_chunks = tl.cdiv(num_pixels, chunk_size)
    plane = tl.program_id(0) * PLANES + tl.arange(0, PLANES)
    chunk = tl.arange(0, CHUNKS).to(tl.int64)
    offset = plane[:, None] * num_chunks + chunk[None, :]
    exists = plane < num_planes
    inside = exists[:, None] & (chunk < num_chunks)[None, :]
    first_mean = tl.load(means_ptr + plane * num_chunks, exists, 0.0)
    means = tl.load(means_ptr + offset, inside, 0.0)
    variances = tl.load(vars_ptr + offset, inside, 0.0)
    # The last chunk may be shorter, and those after it have no pixels.
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
    plane, exists, offset, inside = one_tile(
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
    # Plain sums need no merging, so each number of a tile has its own
    # accumulator, and only the end adds across a tile.
    image, row, chunk, num_chunks = place(
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
        offset, inside = tile(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
        offset_x = x - mean[:, None]
        z = scale[:, None] * offset_x + shift[:, None]
        dz = before_activation(dy, z, slope, ACTIVATION)
        product += dz * offset_x
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
    plane, exists, offset, inside = one_tile(
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
    offset_x = x - mean[:, None]
    z = scale[:, None] * offset_x + shift[:, None]
    dz = before_activation(dy, z, slope, ACTIVATION)
    dx = scale[:, None] * dz + through_var[:, None] * offset_x
    tl.store(dx_ptr + offset, dx + through_mean[:, None], inside)
