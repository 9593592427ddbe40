# Copyright (c) mmnorm contributors. All rights reserved.
"""How the Triton kernels see an activation, and what they compile for.

Height and width change at every step of a detector, so no kernel is compiled
for a size: what it is compiled for is the dtypes, the memory format, and
whether rows of memory begin at multiples of 16 bytes.

Every kernel sees an activation as images of rows of pixels and works on
tiles of ROWS x PIXELS. A contiguous tensor is one image of N * C rows, a
channels last one N images of C rows; only :func:`place` and :func:`tile`
know the difference.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .specialization import kernel_for_any

# By itself, Triton would compile again for a size that is 1 or a multiple of
# 16, and for each way in which small tensors happen to lie in memory.
kernel = kernel_for_any(
    sizes=(
        'chunk_size',
        'chunk_tiles',
        'num_pixels',
        'num_planes',
        'num_rows',
    ),
    pointers=(
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
def place(
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # Image, rows and chunk of this program. Programs that follow one another
    # work on neighbors in memory. A chunk counts in tiles, for the compiler
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
def tile(
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


@triton.jit
def one_tile(
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # For kernels with nothing to carry from tile to tile, chunks are of one:
    # many short programs hide each other's waiting for memory.
    image, row, chunk, _ = place(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    pixel = chunk * PIXELS + tl.arange(0, PIXELS)
    offset, inside = tile(
        image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
    )
    return image * num_rows + row, row < num_rows, offset, inside
