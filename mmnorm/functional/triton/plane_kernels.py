# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, as Triton kernels."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .plane_tiles import chunk_moments, chunk_sums
from .tiles import kernel, locate_chunk, multiple_of
from .written_tiles import affine_tile, input_grad_tile


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
    image, row, chunk, num_chunks = locate_chunk(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    exists = row < multiple_of(num_rows, CHANNELS_LAST and ALIGNED)
    mean, var = chunk_moments(
        x_ptr,
        image,
        row,
        exists,
        chunk,
        num_rows,
        num_pixels,
        chunk_tiles * PIXELS,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    out = (image * num_rows + row) * num_chunks + chunk
    tl.store(mean_ptr + out, mean, exists)
    tl.store(var_ptr + out, var, exists)


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
    y_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    slope,
    num_rows,
    num_pixels,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    affine_tile(
        x_ptr,
        y_ptr,
        mean_ptr,
        scale_ptr,
        shift_ptr,
        slope,
        num_rows,
        num_pixels,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )


@kernel
def sums(
    x_ptr,
    dy_ptr,
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
    image, row, chunk, num_chunks = locate_chunk(
        num_rows, num_pixels, chunk_tiles, CHANNELS_LAST, ROWS, PIXELS
    )
    plane = image * num_rows + row
    exists = row < multiple_of(num_rows, CHANNELS_LAST and ALIGNED)
    product, total = chunk_sums(
        dy_ptr,
        x_ptr,
        image,
        row,
        exists,
        tl.load(mean_ptr + plane, exists, 0.0),
        tl.load(scale_ptr + plane, exists, 0.0),
        tl.load(shift_ptr + plane, exists, 0.0),
        slope,
        chunk,
        num_rows,
        num_pixels,
        chunk_tiles * PIXELS,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
    out = plane * num_chunks + chunk
    tl.store(product_ptr + out, product, exists)
    tl.store(total_ptr + out, total, exists)


@kernel
def input_grad(
    x_ptr,
    dx_ptr,
    dy_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    slope,
    num_rows,
    num_pixels,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    input_grad_tile(
        x_ptr,
        dx_ptr,
        dy_ptr,
        mean_ptr,
        scale_ptr,
        shift_ptr,
        grad_mean_ptr,
        grad_var_ptr,
        slope,
        num_rows,
        num_pixels,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
