# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, launched as Triton kernels.

The functions are the twins of those in :mod:`mmnorm.functional.torch_ops`, for
inputs that :func:`supports` accepts. Each function reads and writes an
activation once, and computes in float32.
"""

from collections.abc import Iterable

import torch
import triton
from torch import Tensor, nn

from . import plane_kernels as kernels
from .launch import launch
from .plane_layout import (
    MAX_CHUNKS,
    layout,
    match_format,
    split,
    written_tiles,
)

# A fused activation is a scale, a shift and the activation. From scale and
# shift, the kernels compute the argument of the activation again.
FusedActivation = tuple[Tensor, Tensor, nn.Module]

ACTIVATIONS = {
    nn.ReLU: 'relu',
    nn.LeakyReLU: 'leaky_relu',
    nn.SiLU: 'silu',
}
MERGED_PLANES = 8  # in the registers of one program of the merge


def supports(x: Tensor) -> bool:
    """Return whether the kernels support the input."""
    return (
        x.dtype in (torch.float16, torch.bfloat16, torch.float32)
        and x.numel() > 0
        and (x.is_contiguous() or x.movedim(1, -1).is_contiguous())
    )


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each plane, in float32."""
    blocks, rows, num_pixels, constants = layout(x)
    tile_pixels = constants[-1]
    chunk_tiles, num_chunks = split(blocks, num_pixels, tile_pixels)
    partial = _new_per_plane(x, num_chunks)
    means, variances = partial.unbind()
    launch(
        kernels.moments,
        blocks * num_chunks,
        x,
        (x,),
        (means, variances, rows, num_pixels, chunk_tiles),
        constants,
        (x.dtype, num_pixels >> 31),
    )
    if num_chunks == 1:
        mean, var = partial[..., 0].unbind()
        return mean, var
    mean, var = _new_per_plane(x).unbind()
    num_planes = mean.numel()
    sizes = num_planes, num_pixels, chunk_tiles * tile_pixels
    launch(
        kernels.merge,
        -(-num_planes // MERGED_PLANES),
        x,
        (),
        (means, variances, mean, var, *sizes),
        (MERGED_PLANES, MAX_CHUNKS),
        num_pixels >> 31,
    )
    return mean, var


def fuses(activation: nn.Module | None) -> bool:
    """Return whether the operators apply an activation."""
    return type(activation) in ACTIVATIONS


def affine(
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    activation: nn.Module | None = None,
) -> Tensor:
    """Return ``scale * (x - mean) + shift``, in dtype and format of ``x``."""
    y = torch.empty_like(x)
    per_plane = map(_to_float32, (mean, scale, shift))
    _launch_tiles(kernels.affine, (x, y), per_plane, activation)
    return y


def plane_sums(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    fused: FusedActivation | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane.

    With a fused activation, ``dy`` is the gradient of the activated output.
    The kernels first multiply ``dy`` by the derivative of the activation,
    here and in :func:`input_grad`.
    """
    dy = match_format(dy, x)
    scale, shift, activation = fused or (mean, mean, None)
    slope, name = slope_and_name(activation)
    blocks, rows, num_pixels, constants = layout(x)
    chunk_tiles, num_chunks = split(blocks, num_pixels, constants[-1])
    partial = _new_per_plane(x, num_chunks)
    per_plane = map(_to_float32, (mean, scale, shift))
    numbers = slope, rows, num_pixels, chunk_tiles
    launch(
        kernels.sums,
        blocks * num_chunks,
        x,
        (x, dy),
        (*per_plane, *partial.unbind(), *numbers),
        (name, *constants),
        (x.dtype, dy.dtype, num_pixels >> 31),
    )
    sums = partial[..., 0] if num_chunks == 1 else partial.sum(-1)
    product, total = sums.unbind()
    return product, total


def input_grad(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    grad_mean: Tensor,
    grad_var: Tensor,
    fused: FusedActivation | None = None,
) -> Tensor:
    """Return the gradient of ``x``, through affine map and both moments."""
    dx = torch.empty_like(x)
    _, shift, activation = fused or (None, mean, None)
    per_plane = map(_to_float32, (mean, scale, shift, grad_mean, grad_var))
    activations = x, dx, match_format(dy, x)
    _launch_tiles(kernels.input_grad, activations, per_plane, activation)
    return dx


def slope_and_name(activation: nn.Module | None) -> tuple[float, str]:
    """Return the slope and the name of an activation, for a kernel."""
    if activation is None:
        return 0.0, ''
    slope = float(getattr(activation, 'negative_slope', 0.0))
    return slope, ACTIVATIONS[type(activation)]


def _launch_tiles(
    kernel: triton.JITFunction,
    activations: tuple[Tensor, ...],
    per_plane: Iterable[Tensor],
    activation: nn.Module | None,
) -> None:
    # One program per tile.
    x = activations[0]
    slope, name = slope_and_name(activation)
    blocks, rows, num_pixels, constants = layout(x)
    num_tiles, constants = written_tiles(x, blocks, num_pixels, constants)
    launch(
        kernel,
        num_tiles,
        x,
        activations,
        (*per_plane, slope, rows, num_pixels),
        (name, *constants),
        (x.dtype, activations[-1].dtype, num_pixels >> 31),
    )


def _new_per_plane(x: Tensor, *trailing: int) -> Tensor:
    """Return memory for two numbers per plane."""
    shape = (2, *x.shape[:2], *trailing)
    return x.new_empty(shape, dtype=torch.float32)


def _to_float32(per_plane: Tensor) -> Tensor:
    if per_plane.dtype == torch.float32 and per_plane.is_contiguous():
        return per_plane  # as the calls below would, but they cost the host
    return per_plane.to(torch.float32).contiguous()
