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

# A fused activation is a scale, a shift and the activation. From scale and
# shift, the kernels compute the argument of the activation again.
FusedActivation = tuple[Tensor, Tensor, nn.Module]

# A tile has so many rows and pixels. A tile is long in the direction of
# memory, but not too long for the 7 x 7 pixels of an RoI or for 64 channels.
CONTIGUOUS_TILE = (16, 128)
CHANNELS_LAST_TILE = (64, 64)
# A program that writes small or odd planes writes so many numbers.
FLAT_TILE = 2048
# The largest GPU runs about a quarter of these programs at once. More rounds
# shorten the last round, in which a part of the GPU is idle. PROGRAMS is a
# constant, so that results are the same on every GPU.
PROGRAMS = 4096
ACTIVATIONS = {
    nn.ReLU: 'relu',
    nn.LeakyReLU: 'leaky_relu',
    nn.SiLU: 'silu',
}
# One program of the merge holds so many planes and chunks in registers.
MERGED_PLANES, MAX_CHUNKS = 8, 512


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


def layout(x: Tensor) -> tuple[int, int, int, tuple]:
    """Return blocks of planes, rows per image, pixels per plane, constants.

    The constants are whether the channels are last, the alignment of the rows
    of memory, and the rows and pixels of a tile.
    """
    n, c = x.shape[:2]
    in_16_bytes = 16 // x.element_size()
    num_pixels = x.numel() // (n * c)
    if x.is_contiguous():
        rows, pixels = CONTIGUOUS_TILE
        aligned = 0 if num_pixels % in_16_bytes else in_16_bytes
        constants = False, aligned, rows, pixels
        return -(-n * c // rows), n * c, num_pixels, constants
    rows, pixels = CHANNELS_LAST_TILE
    aligned = 0 if c % in_16_bytes else in_16_bytes
    constants = True, aligned, rows, pixels
    return n * -(-c // rows), c, num_pixels, constants


def written_tiles(
    x: Tensor, num_blocks: int, num_pixels: int, constants: tuple
) -> tuple[int, tuple]:
    """Return the programs and the constants of a kernel that writes.

    Args:
        x: An activation.
        num_blocks: As :func:`layout` returns them, as all others.
        num_pixels: Pixels per plane.
        constants: Constants of a kernel that reads.
    """
    channels_last, aligned, _, tile_pixels = constants
    is_small = num_pixels < tile_pixels // 2
    if channels_last or (aligned and not is_small) or num_pixels >> 30:
        return num_blocks * -(-num_pixels // tile_pixels), constants
    return -(-x.numel() // FLAT_TILE), (False, 0, 0, FLAT_TILE)


def split(num_blocks: int, num_pixels: int, tile_pixels: int) -> tuple:
    """Return the number of tiles per chunk and of chunks per plane.

    Args:
        num_blocks: Blocks of planes, each of which one tile covers.
        num_pixels: Pixels per plane.
        tile_pixels: Pixels per tile.
    """
    # One image has few planes, and one program per plane would leave most of
    # a GPU idle. Each plane is cut into chunks, which are merged afterwards.
    tiles = -(-num_pixels // tile_pixels)
    chunks = min(tiles, max(PROGRAMS // num_blocks, 1), MAX_CHUNKS)
    chunk_tiles = -(-tiles // chunks)
    return chunk_tiles, -(-tiles // chunk_tiles)


def slope_and_name(activation: nn.Module | None) -> tuple[float, str]:
    """Return the slope and the name of an activation, for a kernel."""
    if activation is None:
        return 0.0, ''
    slope = float(getattr(activation, 'negative_slope', 0.0))
    return slope, ACTIVATIONS[type(activation)]


def with_strides(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Return an activation in the memory format that it had in the forward.

    A hook on saved tensors, as ``torch.autograd.graph.save_on_cpu``, may give
    back another one.
    """
    if x.stride() == strides:
        return x
    return x.new_empty_strided(x.size(), strides).copy_(x)


def match_format(dy: Tensor, x: Tensor) -> Tensor:
    """Return a gradient in the memory format of an activation."""
    if dy.stride() == x.stride():
        return dy
    if x.is_contiguous():
        return dy.contiguous()
    return dy.movedim(1, -1).contiguous().movedim(-1, 1)


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
