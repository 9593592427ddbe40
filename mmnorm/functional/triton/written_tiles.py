# Copyright (c) mmnorm contributors. All rights reserved.
"""The plane operators that write, on a tile of planes or on flat memory.

Where planes are small, or begin anywhere, a tile of ROWS x PIXELS wastes most
of its threads or takes one number per access. With ROWS = 0 a program instead
writes PIXELS numbers that follow each other in memory, of whatever planes.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .plane_tiles import activate, activation_grad
from .tiles import locate_flat, locate_tile


@triton.jit
def _write_affine(
    x_ptr,
    y_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    slope,
    plane,
    exists,
    offset,
    inside,
    ACTIVATION: tl.constexpr,
):
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, exists, 0.0)
    scale = tl.load(scale_ptr + plane, exists, 0.0)
    shift = tl.load(shift_ptr + plane, exists, 0.0)
    z = scale * (x - mean) + shift
    tl.store(y_ptr + offset, activate(z, slope, ACTIVATION), inside)


@triton.jit
def _write_input_grad(
    x_ptr,
    dx_ptr,
    dy_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    slope,
    num_pixels,
    plane,
    exists,
    offset,
    inside,
    ACTIVATION: tl.constexpr,
):
    x = tl.load(x_ptr + offset, inside, 0.0).to(tl.float32)
    dy = tl.load(dy_ptr + offset, inside, 0.0).to(tl.float32)
    mean = tl.load(mean_ptr + plane, exists, 0.0)
    scale = tl.load(scale_ptr + plane, exists, 0.0)
    shift = tl.load(shift_ptr + plane, exists, 0.0)
    grad_mean = tl.load(grad_mean_ptr + plane, exists, 0.0)
    grad_var = tl.load(grad_var_ptr + plane, exists, 0.0)
    through_var = 2.0 * grad_var / num_pixels
    through_mean = grad_mean / num_pixels
    centered = x - mean
    dz = activation_grad(dy, scale * centered + shift, slope, ACTIVATION)
    dx = scale * dz + through_var * centered
    tl.store(dx_ptr + offset, dx + through_mean, inside)


@triton.jit
def affine_tile(
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
    if ROWS == 0:
        plane, offset, inside, is_whole = locate_flat(
            num_rows, num_pixels, PIXELS
        )
        if is_whole:
            # The compiler sees that all numbers exist, and takes 16 bytes.
            inside = tl.full((PIXELS,), 1, tl.int1)
            _write_affine(
                x_ptr,
                y_ptr,
                mean_ptr,
                scale_ptr,
                shift_ptr,
                slope,
                plane,
                inside,
                offset,
                inside,
                ACTIVATION,
            )
        else:
            _write_affine(
                x_ptr,
                y_ptr,
                mean_ptr,
                scale_ptr,
                shift_ptr,
                slope,
                plane,
                inside,
                offset,
                inside,
                ACTIVATION,
            )
    else:
        plane, exists, offset, inside = locate_tile(
            num_rows, num_pixels, CHANNELS_LAST, ALIGNED, ROWS, PIXELS
        )
        _write_affine(
            x_ptr,
            y_ptr,
            mean_ptr,
            scale_ptr,
            shift_ptr,
            slope,
            plane[:, None],
            exists[:, None],
            offset,
            inside,
            ACTIVATION,
        )


@triton.jit
def input_grad_tile(
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
    if ROWS == 0:
        plane, offset, inside, is_whole = locate_flat(
            num_rows, num_pixels, PIXELS
        )
        if is_whole:
            # The compiler sees that all numbers exist, and takes 16 bytes.
            inside = tl.full((PIXELS,), 1, tl.int1)
            _write_input_grad(
                x_ptr,
                dx_ptr,
                dy_ptr,
                mean_ptr,
                scale_ptr,
                shift_ptr,
                grad_mean_ptr,
                grad_var_ptr,
                slope,
                num_pixels,
                plane,
                inside,
                offset,
                inside,
                ACTIVATION,
            )
        else:
            _write_input_grad(
                x_ptr,
                dx_ptr,
                dy_ptr,
                mean_ptr,
                scale_ptr,
                shift_ptr,
                grad_mean_ptr,
                grad_var_ptr,
                slope,
                num_pixels,
                plane,
                inside,
                offset,
                inside,
                ACTIVATION,
            )
    else:
        plane, exists, offset, inside = locate_tile(
            num_rows, num_pixels, CHANNELS_LAST, ALIGNED, ROWS, PIXELS
        )
        _write_input_grad(
            x_ptr,
            dx_ptr,
            dy_ptr,
            mean_ptr,
            scale_ptr,
            shift_ptr,
            grad_mean_ptr,
            grad_var_ptr,
            slope,
            num_pixels,
            plane[:, None],
            exists[:, None],
            offset,
            inside,
            ACTIVATION,
        )
