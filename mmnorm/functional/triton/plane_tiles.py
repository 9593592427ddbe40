# Copyright (c) mmnorm contributors. All rights reserved.
"""The plane operators that reduce, on the chunk of a program."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .tiles import tile_offsets


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


@triton.jit
def _offsets(
    image,
    row,
    pixel,
    exists,
    num_rows,
    num_pixels,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    # Rows count from the first of the image.
    last_row = num_rows
    if not CHANNELS_LAST:
        row = image * num_rows + row
        last_row = (image + 1) * num_rows
    offset, inside = tile_offsets(
        image, row, pixel, last_row, num_pixels, CHANNELS_LAST, ALIGNED
    )
    return offset, inside & exists[:, None]


@triton.jit
def chunk_moments(
    x_ptr,
    image,
    row,
    exists,
    chunk,
    num_rows,
    num_pixels,
    chunk_size,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # A tile stays in registers: its mean is computed first, then the squares
    # about its mean. The order is accurate where the mean is large, and needs
    # no division per pixel. The formula of Chan, Golub and LeVeque merges the
    # tiles. Division is exact, because the fast division of a GPU would give
    # a constant plane a variance.
    first = chunk * chunk_size
    last = tl.minimum(first + chunk_size, num_pixels)
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = _offsets(
            image,
            row,
            pixel,
            exists,
            num_rows,
            num_pixels,
            CHANNELS_LAST,
            ALIGNED,
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
    return mean, squares / (last - first).to(tl.float32)


@triton.jit
def chunk_sums(
    dy_ptr,
    x_ptr,
    image,
    row,
    exists,
    mean,
    scale,
    shift,
    slope,
    chunk,
    num_rows,
    num_pixels,
    chunk_size,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Each position of a tile has its own accumulators. The sum over a tile
    # comes last, because plain sums need no merging.
    first = chunk * chunk_size
    last = tl.minimum(first + chunk_size, num_pixels)
    product = tl.zeros((ROWS, PIXELS), tl.float32)
    total = tl.zeros((ROWS, PIXELS), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = _offsets(
            image,
            row,
            pixel,
            exists,
            num_rows,
            num_pixels,
            CHANNELS_LAST,
            ALIGNED,
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
        centered = x - mean[:, None]
        z = scale[:, None] * centered + shift[:, None]
        dz = activation_grad(dy, z, slope, ACTIVATION)
        product += dz * centered
        total += dz
    return tl.sum(product, 1), tl.sum(total, 1)
