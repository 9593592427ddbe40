# Copyright (c) mmnorm contributors. All rights reserved.
"""The plane operators that write an activation, for a fused norm.

All numbers per plane are in one tensor, because each argument of a launch
costs the host time: mean, variance, scale and shift of all planes.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .teams import kernel
from .written_tiles import affine_tile, input_grad_tile


@kernel
def apply(
    x_ptr,
    y_ptr,
    planes_ptr,
    slope,
    num_images,
    num_channels,
    num_pixels,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    num_planes = num_images * num_channels
    affine_tile(
        x_ptr,
        y_ptr,
        planes_ptr,
        planes_ptr + 2 * num_planes,
        planes_ptr + 3 * num_planes,
        slope,
        num_channels if CHANNELS_LAST else num_planes,
        num_pixels,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )


@kernel
def apply_grad(
    x_ptr,
    dx_ptr,
    dy_ptr,
    planes_ptr,
    grad_planes_ptr,
    slope,
    num_images,
    num_channels,
    num_pixels,
    ACTIVATION: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ALIGNED: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    num_planes = num_images * num_channels
    input_grad_tile(
        x_ptr,
        dx_ptr,
        dy_ptr,
        planes_ptr,
        planes_ptr + 2 * num_planes,
        planes_ptr + 3 * num_planes,
        grad_planes_ptr,
        grad_planes_ptr + num_planes,
        slope,
        num_channels if CHANNELS_LAST else num_planes,
        num_pixels,
        ACTIVATION,
        CHANNELS_LAST,
        ALIGNED,
        ROWS,
        PIXELS,
    )
