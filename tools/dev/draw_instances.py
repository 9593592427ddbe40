# Copyright (c) mmnorm contributors. All rights reserved.
"""Draw instances on an image: masks in the colors of classes, and labels."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = np.array(plt.get_cmap('tab10').colors)
COLORS[7] = (0, 0, 0.5)  # Gray is the color of the image.
Point = tuple[float, float]
Size = tuple[float, float]


class Instance(NamedTuple):
    """A mask, the number of its class, and the text of its label."""

    mask: np.ndarray
    label: int
    text: str


def color_of(label: int) -> np.ndarray:
    """Return the color of a class."""
    return COLORS[label % len(COLORS)]


def paint(image: np.ndarray, instances: Sequence[Instance]) -> np.ndarray:
    """Return an RGB image in gray, with each mask in the color of its class.

    The image is gray, because the colors of its content would look like
    classes. Small instances are painted over large ones.
    """
    canvas = image.mean(2, keepdims=True).repeat(3, 2) / 255
    by_size = sorted(instances, key=lambda one: -one.mask.sum())
    for mask, label, _ in by_size:
        canvas[mask] = 0.3 * canvas[mask] + 0.7 * color_of(label)
    return canvas


def place_labels(
    wanted: Sequence[Point], sizes: Sequence[Size], image: Size
) -> list[Point | None]:
    """Return a center for each label, so that no label covers another one.

    The labels are placed in turn, each inside the image and as near to its
    wanted center as the labels before leave room. A label without room gets
    None.

    Args:
        wanted: The wanted center of each label, as x and y in pixels.
        sizes: Width and height of each label.
        image: Width and height of the image.
    """
    centers: list[Point | None] = []
    placed: list[tuple[Point, Size]] = []
    for (x, y), (width, height) in zip(wanted, sizes, strict=True):
        xs, ys = np.meshgrid(
            np.arange(width / 2, image[0] - width / 2),
            np.arange(height / 2, image[1] - height / 2),
        )
        free = np.ones(xs.shape, bool)
        for (other_x, other_y), (other_width, other_height) in placed:
            beside = 2 * abs(xs - other_x) >= width + other_width
            above = 2 * abs(ys - other_y) >= height + other_height
            free &= beside | above
        if not free.any():
            centers.append(None)
            continue
        distances = np.where(free, np.hypot(xs - x, ys - y), np.inf)
        nearest = distances.argmin()
        centers.append((xs.flat[nearest], ys.flat[nearest]))
        placed.append((centers[-1], (width, height)))
    return centers


def show_image(axes: Axes, canvas: np.ndarray) -> None:
    """Show an image, with pixels as the units of both axes."""
    height, width = canvas.shape[:2]
    axes.imshow(canvas, extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])


def write_labels(axes: Axes, instances: Sequence[Instance]) -> None:
    """Write the text of each instance above its mask.

    The size of a text in pixels of the image is known after the layout of the
    figure is final.
    """
    renderer = axes.figure.canvas.get_renderer()
    texts, wanted, sizes = [], [], []
    for mask, label, words in instances:
        if not words or not mask.any():
            continue
        text = axes.text(
            0,
            0,
            words,
            color='white',
            fontsize=7,
            ha='center',
            va='center',
            bbox=dict(color=color_of(label), pad=1, linewidth=0),
        )
        text.update_bbox_position_size(renderer)
        extent = text.get_bbox_patch().get_window_extent(renderer)
        extent = extent.transformed(axes.transData.inverted())
        width, height = abs(extent.width), abs(extent.height)
        ys, xs = np.nonzero(mask)
        texts.append(text)
        sizes.append((width, height))
        wanted.append(((xs.min() + xs.max() + 1) / 2, ys.min() - height / 2))
    image = (axes.get_xlim()[1], axes.get_ylim()[0])
    centers = place_labels(wanted, sizes, image)
    for text, center in zip(texts, centers, strict=True):
        if center is None:
            text.remove()
        else:
            text.set_position(center)


def draw_rows(
    columns: Sequence[tuple[np.ndarray, list[Instance], list[Instance]]],
) -> Figure:
    """Draw each image twice: the truth above, the predictions below.

    Args:
        columns: An image, its true and its predicted instances, for each
            column of the figure.
    """
    figure, axes = plt.subplots(
        2, len(columns), figsize=(2.6 * len(columns), 5.4), squeeze=False
    )
    drawn = []
    for column, (image, *rows) in zip(axes.T, columns, strict=True):
        for one, instances in zip(column, rows, strict=True):
            show_image(one, paint(image, instances))
            drawn.append((one, instances))
    axes[0, 0].set_ylabel('truth')
    axes[1, 0].set_ylabel('predicted')
    figure.tight_layout()
    figure.draw_without_rendering()
    for one, instances in drawn:
        write_labels(one, instances)
    return figure
