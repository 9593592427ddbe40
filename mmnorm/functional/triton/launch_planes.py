# Copyright (c) mmnorm contributors. All rights reserved.
r"""The four passes over an activation, as Triton kernels.

The same functions as in :mod:`mmnorm.functional.torch_ops`, for what
:func:`supports` accepts. Each pass reads and writes an activation once, and
computes in float32.
"""

import torch
import triton
from torch import Tensor, nn

from . import plane_kernels as kernels

# Scale, shift and the activation behind: its argument is computed again.
Gate = tuple[Tensor, Tensor, nn.Module]

# Long in the direction of memory. Not too long in the other: planes may be as
# small as the 7 x 7 of an RoI, and channels as few as 64.
CONTIGUOUS_TILE = (16, 128)
CHANNELS_LAST_TILE = (64, 64)
# Some four times what the largest GPU runs at once, so that the last round,
# when a part of it is idle, is short. A constant, so that results are the
# same on every GPU.
PROGRAMS = 4096
ACTIVATIONS = {
    nn.ReLU: 'relu',
    nn.LeakyReLU: 'leaky_relu',
    nn.SiLU: 'silu',
}
# What a program of the merge holds in registers at once.
MERGED_PLANES, MAX_CHUNKS = 8, 512


def supports(x: Tensor) -> bool:
    """Whether the kernels take it; if not, the torch operators do."""
    return (
        x.dtype in (torch.float16, torch.bfloat16, torch.float32)
        and x.numel() > 0
        and (x.is_contiguous() or x.movedim(1, -1).is_contiguous())
    )


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each plane, in float32."""
    chunk_tiles, num_chunks = _split(x)
    partial = _per_plane(x, num_chunks)
    _launch(kernels.moments, x, chunk_tiles, (x, *partial))
    if num_chunks == 1:
        mean, var = partial[..., 0]
        return mean, var
    mean, var = merged = _per_plane(x)
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
    """Whether an activation is part of the passes."""
    return type(activation) in ACTIVATIONS


def affine(
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    activation: nn.Module | None = None,
) -> Tensor:
    """``scale * (x - mean) + shift``, in the dtype and format of ``x``."""
    y = torch.empty_like(x)
    tensors = x, *map(_dense, (mean, scale, shift)), y
    _launch(kernels.affine, x, 1, tensors, **_constants(activation))
    return y


def plane_sums(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane.

    With a gate, ``dy`` is first led back through the activation, here and in
    :func:`input_grad`.
    """
    chunk_tiles, num_chunks = _split(x)
    partial = _per_plane(x, num_chunks)
    scale, shift, activation = gate or (mean, mean, None)
    per_plane = map(_dense, (mean, scale, shift))
    tensors = _in_format_of(x, dy), x, *per_plane, *partial
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
    gate: Gate | None = None,
) -> Tensor:
    """Gradient of ``x`` through the affine map and through both moments."""
    dx = torch.empty_like(x)
    _, shift, activation = gate or (None, mean, None)
    per_plane = map(_dense, (mean, scale, shift, grad_mean, grad_var))
    tensors = _in_format_of(x, dy), x, *per_plane, dx
    _launch(kernels.input_grad, x, 1, tensors, **_constants(activation))
    return dx


def _layout(x: Tensor) -> tuple[int, int, int, tuple[int, int]]:
    # Images, rows, pixels and the tile.
    n, c = x.shape[:2]
    num_pixels = x.shape[2:].numel()
    if x.is_contiguous():
        return 1, n * c, num_pixels, CONTIGUOUS_TILE
    return n, c, num_pixels, CHANNELS_LAST_TILE


def _split(x: Tensor) -> tuple[int, int]:
    # One image has few planes: a program a plane would leave most of a GPU
    # idle, so each plane is cut into chunks, which are merged afterwards.
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
    **of_kernel: object,
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
            **of_kernel,
        )


def _per_plane(x: Tensor, *trailing: int) -> Tensor:
    # Two results for each plane.
    shape = (2, *x.shape[:2], *trailing)
    return x.new_empty(shape, dtype=torch.float32)


def _dense(per_plane: Tensor) -> Tensor:
    return per_plane.to(torch.float32).contiguous()


def _in_format_of(x: Tensor, dy: Tensor) -> Tensor:
    if x.is_contiguous():
        return dy.contiguous()
    return dy.movedim(1, -1).contiguous().movedim(-1, 1)
