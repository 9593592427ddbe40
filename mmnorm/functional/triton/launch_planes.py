# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, launched as Triton kernels.

The functions are the twins of those in :mod:`mmnorm.functional.torch_ops`, for
inputs that :func:`supports` accepts. Each function reads and writes an
activation once, and computes in float32.
"""

import torch
import triton
from torch import Tensor, nn

from . import plane_kernels as kernels

# A fused activation is a scale, a shift and the activation. From scale and
# shift, the kernels compute the argument of the activation again.
FusedActivation = tuple[Tensor, Tensor, nn.Module]

# A tile has so many rows and pixels. A tile is long in the direction of
# memory, but not too long for the 7 x 7 pixels of an RoI or for 64 channels.
CONTIGUOUS_TILE = (16, 128)
CHANNELS_LAST_TILE = (64, 64)
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
    chunk_tiles, num_chunks = _split(x)
    partial = _new_per_plane(x, num_chunks)
    _launch(kernels.moments, x, chunk_tiles, (x, *partial))
    if num_chunks == 1:
        mean, var = partial[..., 0]
        return mean, var
    mean, var = merged = _new_per_plane(x)
    num_planes, num_pixels = mean.numel(), x.shape[2:].numel()
    with torch.cuda.device_of(x):
        kernels.merge[(triton.cdiv(num_planes, MERGED_PLANES),)](
            *partial,
            *merged,
            num_planes,
            num_pixels,
            chunk_tiles * _layout(x)[-1][1],
            PLANES=MERGED_PLANES,
            CHUNKS=MAX_CHUNKS,
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
    tensors = x, *map(_to_float32, (mean, scale, shift)), y
    _launch(kernels.affine, x, 1, tensors, **_constants(activation))
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
    chunk_tiles, num_chunks = _split(x)
    partial = _new_per_plane(x, num_chunks)
    scale, shift, activation = fused or (mean, mean, None)
    per_plane = map(_to_float32, (mean, scale, shift))
    tensors = _match_format(dy, x), x, *per_plane, *partial
    constants = _constants(activation)
    _launch(kernels.sums, x, chunk_tiles, tensors, **constants)
    product, total = partial[..., 0] if num_chunks == 1 else partial.sum(-1)
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
    tensors = _match_format(dy, x), x, *per_plane, dx
    _launch(kernels.input_grad, x, 1, tensors, **_constants(activation))
    return dx


def _layout(x: Tensor) -> tuple[int, int, int, tuple[int, int]]:
    """Return images, rows, pixels, and the rows and pixels of a tile."""
    n, c = x.shape[:2]
    num_pixels = x.shape[2:].numel()
    if x.is_contiguous():
        return 1, n * c, num_pixels, CONTIGUOUS_TILE
    return n, c, num_pixels, CHANNELS_LAST_TILE


def _split(x: Tensor) -> tuple[int, int]:
    """Return the number of tiles per chunk and of chunks per plane."""
    # One image has few planes, and one program per plane would leave most of
    # a GPU idle. Each plane is cut into chunks, which are merged afterwards.
    images, rows, num_pixels, (tile_rows, tile_pixels) = _layout(x)
    tiles = triton.cdiv(num_pixels, tile_pixels)
    chunks = PROGRAMS // (images * triton.cdiv(rows, tile_rows))
    chunks = min(tiles, max(chunks, 1), MAX_CHUNKS)
    chunk_tiles = triton.cdiv(tiles, chunks)
    return chunk_tiles, triton.cdiv(tiles, chunk_tiles)


def _constants(activation: nn.Module | None) -> dict[str, object]:
    if activation is None:
        return {'slope': 0.0, 'ACTIVATION': ''}
    slope = getattr(activation, 'negative_slope', 0.0)
    return {'slope': slope, 'ACTIVATION': ACTIVATIONS[type(activation)]}


def _launch(
    kernel: triton.JITFunction,
    x: Tensor,
    chunk_tiles: int,
    tensors: tuple[Tensor, ...],
    **constants: object,
) -> None:
    images, rows, num_pixels, (tile_rows, tile_pixels) = _layout(x)
    blocks = images * triton.cdiv(rows, tile_rows)
    chunks = triton.cdiv(num_pixels, chunk_tiles * tile_pixels)
    channels_last = not x.is_contiguous()
    with torch.cuda.device_of(x):
        kernel[(blocks * chunks,)](
            *tensors,
            num_rows=rows,
            num_pixels=num_pixels,
            chunk_tiles=chunk_tiles,
            CHANNELS_LAST=channels_last,
            ALIGNED=(rows if channels_last else num_pixels) % 8 == 0,
            ROWS=tile_rows,
            PIXELS=tile_pixels,
            **constants,
        )


def _new_per_plane(x: Tensor, *trailing: int) -> Tensor:
    """Return memory for two numbers per plane."""
    shape = (2, *x.shape[:2], *trailing)
    return x.new_empty(shape, dtype=torch.float32)


def _to_float32(per_plane: Tensor) -> Tensor:
    return per_plane.to(torch.float32).contiguous()


def _match_format(dy: Tensor, x: Tensor) -> Tensor:
    if x.is_contiguous():
        return dy.contiguous()
    return dy.movedim(1, -1).contiguous().movedim(-1, 1)
