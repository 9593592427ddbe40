# Copyright (c) mmnorm contributors. All rights reserved.
"""Tiles of an activation, for which kernels are compiled once.

Height and width change at every step of a detector, so no kernel is compiled
for a size. A kernel is compiled for the dtypes, for the memory format, and
for rows of memory that begin at multiples of 16 bytes: ALIGNED is the number
of values in 16 bytes, or 0.

Every kernel sees an activation as images of rows of pixels, and works on
tiles of ROWS x PIXELS. A contiguous tensor is one image of N * C rows, and a
channels last tensor is N images of C rows. Only :func:`locate_chunk` and
:func:`tile_offsets` know the difference.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .specialization import kernel_for_any

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
def locate_chunk(
    num_rows,
    num_pixels,
    chunk_tiles,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # The result is the image, the rows and the chunk of this program, and the
    # number of chunks. Consecutive programs work on neighbors in memory. A
    # chunk is a number of tiles, from which the compiler sees that each chunk
    # begins at a multiple of 16 bytes.
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
def multiple_of(size, NUMBER: tl.constexpr):
    # To divide and multiply by the number changes nothing, but tells the
    # compiler that a load may take 16 bytes at once.
    if NUMBER:
        size = size // NUMBER * NUMBER
    return size


@triton.jit
def tile_offsets(
    image,
    row,
    pixel,
    num_rows,
    num_pixels,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    # The result is the offsets of a tile and the mask of what exists. Offsets
    # have 64 bits, for tensors of more than 2^31 numbers.
    if CHANNELS_LAST:
        num_rows = multiple_of(num_rows, ALIGNED)
        pixels_before = image.to(tl.int64) * num_pixels + pixel
        offset = pixels_before[None, :] * num_rows + row[:, None]
    else:
        num_pixels = multiple_of(num_pixels, ALIGNED)
        offset = row.to(tl.int64)[:, None] * num_pixels + pixel[None, :]
    return offset, (row < num_rows)[:, None] & (pixel < num_pixels)[None, :]


@triton.jit
def locate_tile(
    num_rows,
    num_pixels,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    # A kernel that carries nothing from tile to tile has one tile per chunk:
    # many short programs hide the latency of memory.
    image, row, chunk, _ = locate_chunk(
        num_rows, num_pixels, 1, CHANNELS_LAST, ROWS, PIXELS
    )
    pixel = chunk * PIXELS + tl.arange(0, PIXELS)
    offset, inside = tile_offsets(
        image, row, pixel, num_rows, num_pixels, CHANNELS_LAST, ALIGNED
    )
    return image * num_rows + row, row < num_rows, offset, inside


@triton.jit
def locate_flat(num_rows, num_pixels, PIXELS: tl.constexpr):
    # The planes and offsets of PIXELS numbers that follow each other, whether
    # each exists, and whether all do. The first number has 64 bits, and those
    # after it are relative to its plane, because division is fast in 32 bits.
    first = tl.program_id(0).to(tl.int64) * PIXELS
    plane = first // num_pixels
    place = (first - plane * num_pixels).to(tl.int32) + tl.arange(0, PIXELS)
    offset = first + tl.arange(0, PIXELS)
    size = num_rows.to(tl.int64) * num_pixels
    is_whole = first + PIXELS <= size
    return plane + place // num_pixels, offset, offset < size, is_whole
