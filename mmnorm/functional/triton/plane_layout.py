# Copyright (c) mmnorm contributors. All rights reserved.
"""How tiles cover an activation, in each memory format.

A tile is a block of planes times some of their pixels. A program that reads
covers a chunk, which is several tiles of the same planes.
"""

from torch import Tensor

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
# The merge of the chunks of a plane holds so many of them in registers.
MAX_CHUNKS = 512


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
