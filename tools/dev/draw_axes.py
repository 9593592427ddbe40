# Copyright (c) mmnorm contributors. All rights reserved.
"""Draw the values that each norm of docs/gallery.md averages.

Each picture shows three images, one per row, and eight channels, one per
column. The dot marks a plane, and the colored planes share its statistics.
"""

from collections.abc import Callable
from pathlib import Path

IMAGES, CHANNELS, GROUP = 3, 8, 4
CELL, GAP = 18, 3
FOLDER = Path(__file__).parents[2] / 'docs/axes'
# In the order in which they are looked up: a plane has one color.
COLORS = {'plane': '#1b5e9e', 'image': '#7fb2e5', 'batch': '#f2a65a'}
EMPTY = '#e4e4e4'

Planes = Callable[[int, int], bool]  # from the image and the channel


def plane(image: int, channel: int) -> bool:
    return image == channel == 0


def group(image: int, channel: int) -> bool:
    return image == 0 and channel < GROUP


def layer(image: int, channel: int) -> bool:
    return image == 0


def batch(image: int, channel: int) -> bool:
    return channel == 0


def batch_of_group(image: int, channel: int) -> bool:
    return channel < GROUP


# A plane whose own values count alone, those of its image, and of the batch.
PICTURES: dict[str, dict[str, Planes]] = {
    'instance': {'plane': plane},
    'layer': {'image': layer},
    'group': {'image': group},
    'batch': {'batch': batch},
    'batch-channel': {'image': group, 'batch': batch_of_group},
    'switchable': {'plane': plane, 'image': layer, 'batch': batch},
    'batch-instance': {'plane': plane, 'batch': batch},
}


def draw(sets: dict[str, Planes]) -> str:
    """Return an SVG picture of sets of planes, by the name of their color."""
    step = CELL + GAP
    width, height = CHANNELS * step + GAP, IMAGES * step + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{height}">'
    ]
    for image in range(IMAGES):
        for channel in range(CHANNELS):
            color = EMPTY
            for name in reversed(COLORS):
                if name in sets and sets[name](image, channel):
                    color = COLORS[name]
            x, y = GAP + channel * step, GAP + image * step
            lines.append(
                f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" '
                f'fill="{color}"/>'
            )
    middle = GAP + CELL / 2
    lines.append(f'<circle cx="{middle}" cy="{middle}" r="3" fill="#fff"/>')
    return '\n'.join([*lines, '</svg>', ''])


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, sets in PICTURES.items():
        (FOLDER / f'{name}.svg').write_text(draw(sets))


if __name__ == '__main__':
    main()
