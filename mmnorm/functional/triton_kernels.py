# Copyright (c) mmnorm contributors. All rights reserved.
"""The Triton kernels that :mod:`triton_ops` launches.

Height and width change at every step of a detector, so no kernel is compiled
for a size: what it is compiled for is the dtypes, the memory format, and
whether rows of memory begin at multiples of 16 bytes.

Every kernel sees an activation as images of rows of pixels and works on
tiles of ROWS x PIXELS. A contiguous tensor is one image of N * C rows, a
channels last one N images of C rows; only :func:`_place` and :func:`_tile`
know the difference.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

# By itself, Triton would compile again for a size that is 1 or a multiple of
# 16, and for each way in which small tensors happen to lie in memory.
_kernel = triton.jit(
    do_not_specialize=(
        'chunk_size',
        'chunk_tiles',
        'num_pixels',
        'num_planes',
        'num_rows',
    ),
    do_not_specialize_on_alignment=(
        'grad_mean_ptr',
        'grad_var_ptr',
        'mean_ptr',
        'means_ptr',
        'product_ptr',
        'scale_ptr',
        'shift_ptr',
        'total_ptr',
        'var_ptr',
        'vars_ptr',
    ),
)


@triton.jit
def _place(
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Image, rows and chunk of this program. Programs that follow one another
    # work on neighbours in memory. A chunk counts in tiles, for the compiler
    # to see that each begins at a multiple of 16 bytes.
    program = tl.program_id(0)
    chunk_size = chunk_tiles * PIXELS
    num_blocks = tl.cdiv(num_rows, ROWS)
    num_chunks = tl.cdiv(num_pixels, chunk_size)
    image = program // (num_blocks * num_chunks)
    if CHANNELS_LAST:
        block = program % num_blocks
        chunk = program // num_blocks % num_chunks
    else:
        block = program // num_chunks % num_blocks
        chunk = program % num_chunks
    return image, block * ROWS + tl.arange(0, ROWS), chunk, num_chunks


@triton.jit
def _tile(
    image,
    row,
    pixel,
    num_rows,
    num_pixels,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    # Offsets of a tile, and which of it exists. Offsets have 64 bits, for
    # tensors of more than 2^31 numbers. To divide and multiply by 8 changes
    # nothing, but tells the compiler that it may load 16 bytes at once.
    if CHANNELS_LAST:
        if ALIGNED:
            num_rows = num_rows // 8 * 8
        pixels_before = image.to(tl.int64) * num_pixels + pixel
        offset = pixels_before[None, :] * num_rows + row[:, None]
    else:
        if ALIGNED:
            num_pixels = num_pixels // 8 * 8
        offset = row.to(tl.int64)[:, None] * num_pixels + pixel[None, :]
    return offset, (row < num_rows)[:, None] & (pixel < num_pixels)[None, :]


@_kernel
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
    image, row, chunk, num_chunks = _place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    first = chunk * chunk_tiles * PIXELS
    last = tl.minimum(first + chunk_tiles * PIXELS, num_pixels)
    mean = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = _tile(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        before = (start - first).to(tl.float32)
        count = tl.minimum(last - start, PIXELS).to(tl.float32)
        tile_mean = tl.div_rn(tl.sum(x, 1), count)
        centred = tl.where(inside, x - tile_mean[:, None], 0.0)
        step = tile_mean - mean
        share = tl.div_rn(count, before + count)
        mean += step * share
        squares += tl.sum(centred * centred, 1) + step * step * share * before
    out = plane * num_chunks + chunk
    tl.store(mean_ptr + out, mean, row < num_rows)
    count = (last - first).to(tl.float32)
    tl.store(var_ptr + out, squares / count, row < num_rows)


@_kernel
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


@_kernel
def affine(
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    y_ptr,
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Nothing to carry from tile to tile, so a program has one: many short
    # programs hide each other's waiting for memory.
    image, row, chunk, _ = _place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    pixel = chunk * PIXELS + tl.arange(0, PIXELS)
    offset, inside = _tile(
        image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
    )
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, row < num_rows, 0.0)
    scale = tl.load(scale_ptr + plane, row < num_rows, 0.0)
    shift = tl.load(shift_ptr + plane, row < num_rows, 0.0)
    y = scale[:, None] * (x - mean[:, None]) + shift[:, None]
    tl.store(y_ptr + offset, y, inside)


@_kernel
def sums(
    dy_ptr,
    x_ptr,
    mean_ptr,
    product_ptr,
    total_ptr,
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Plain sums need no merging, so each number of a tile has its own
    # accumulator, and only the end adds across a tile.
    image, row, chunk, num_chunks = _place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    mean = tl.load(mean_ptr + plane, row < num_rows, 0.0)
    first = chunk * chunk_tiles * PIXELS
    last = tl.minimum(first + chunk_tiles * PIXELS, num_pixels)
    product = tl.zeros((ROWS, PIXELS), tl.float32)
    total = tl.zeros((ROWS, PIXELS), tl.float32)
    for start in range(first, last, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        offset, inside = _tile(
            image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
        )
        x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
        product += dy * (x - mean[:, None])
        total += dy
    out = plane * num_chunks + chunk
    tl.store(product_ptr + out, tl.sum(product, 1), row < num_rows)
    tl.store(total_ptr + out, tl.sum(total, 1), row < num_rows)


@_kernel
def input_grad(
    dy_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    dx_ptr,
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # As the affine map, with one more activation to read.
    image, row, chunk, _ = _place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    pixel = chunk * PIXELS + tl.arange(0, PIXELS)
    offset, inside = _tile(
        image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
    )
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, row < num_rows, 0.0)
    scale = tl.load(scale_ptr + plane, row < num_rows, 0.0)
    grad_mean = tl.load(grad_mean_ptr + plane, row < num_rows, 0.0)
    grad_var = tl.load(grad_var_ptr + plane, row < num_rows, 0.0)
    through_var = 2.0 * grad_var / num_pixels
    through_mean = grad_mean / num_pixels
    dx = scale[:, None] * dy + through_var[:, None] * (x - mean[:, None])
    tl.store(dx_ptr + offset, dx + through_mean[:, None], inside)
