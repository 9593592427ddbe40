# Copyright (c) mmnorm contributors. All rights reserved.
"""Compose small scenes of handwritten digits on photographs.

Digits and photographs are real and ship inside scikit-learn. Nothing is
downloaded.
"""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np
from sklearn.datasets import load_digits, load_sample_images

TRAIN_SHARE = 0.7
"""The part of the digits, and of each photograph's width, for training."""
MIN_VISIBLE = 0.6
"""A digit leaves at least this part of every other digit visible."""
DIGIT_HEIGHTS = (0.22, 0.42)
"""The smallest and the largest digit, in parts of the shorter side."""
HEAP_HEIGHTS = (0.13, 0.17)
HEAP_SIDE = 0.5
HEAP_DIGITS = 24
TRIES = 20


class Sources(NamedTuple):
    """The photographs and the digits of one split."""

    photos: list[np.ndarray]
    digits: np.ndarray
    labels: np.ndarray
    colored: bool = False

    def hue(self, index: int, rng: np.random.Generator) -> float | None:
        """Return a random hue of a digit, or None if every hue is right."""
        if not self.colored:
            return None
        return (self.labels[index] + 0.5 * rng.random()) / 10


class Instance(NamedTuple):
    """A digit (0 to 9) and its visible pixels; a heap if ``crowd``."""

    category: int
    mask: np.ndarray
    crowd: bool = False


def load_sources(split: str) -> Sources:
    """Load the digits and photo regions of 'train' or 'val'.

    The two splits share no digit sample and no photo pixel.
    """

    def part(length: int) -> slice:
        cut = round(TRAIN_SHARE * length)
        return {'train': slice(cut), 'val': slice(cut, None)}[split]

    samples = load_digits()
    chosen = part(len(samples.target))
    photos = load_sample_images().images
    return Sources(
        photos=[photo[:, part(photo.shape[1])] for photo in photos],
        digits=samples.images[chosen].astype(np.float32) / 16,
        labels=samples.target[chosen],
    )


def compose(
    sources: Sources,
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int,
    heap: bool = False,
) -> tuple[np.ndarray, list[Instance]]:
    """Make one scene of ``shape`` (height, width).

    Args:
        sources: The photographs and the digits.
        rng: The generator of all random choices.
        shape: Height and width of the image.
        count: The number of digits; a full image gets fewer.
        heap: Whether a heap of small digits lies below the digits.

    Returns:
        The RGB uint8 image, and its instances from bottom to top.
    """
    image = _background(sources.photos, rng, shape)
    instances = [_paint_heap(image, sources, rng)] if heap else []
    areas = [instance.mask.sum() for instance in instances]
    wanted = len(instances) + count
    for _ in range(TRIES * count):
        if len(instances) == wanted:
            break
        index = rng.integers(len(sources.digits))
        height = rng.uniform(*DIGIT_HEIGHTS) * min(shape)
        ink, halo = _layer(sources.digits[index], height, shape, rng)
        hidden = halo > 0.5
        if any(
            (instance.mask & ~hidden).sum() < MIN_VISIBLE * area
            for instance, area in zip(instances, areas, strict=True)
        ):
            continue
        hue = sources.hue(index, rng)
        _paint(image, ink, halo, hue, rng)
        for instance in instances:
            instance.mask[hidden] = False
        mask = ink > 0.5
        instances.append(Instance(int(sources.labels[index]), mask))
        areas.append(mask.sum())
    return image, instances


def _background(
    photos: list[np.ndarray],
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    scale = min(rng.uniform(0.7, 1.3), *np.divide(photo.shape[:2], shape))
    height, width = (max(1, int(scale * side)) for side in shape)
    top = rng.integers(photo.shape[0] - height + 1)
    left = rng.integers(photo.shape[1] - width + 1)
    crop = photo[top : top + height, left : left + width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = cv2.resize(np.ascontiguousarray(crop), shape[::-1])
    return np.clip(crop * rng.uniform(0.6, 1.1), 0, 255).astype(np.uint8)


def _layer(
    digit: np.ndarray,
    height: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge a digit and put the digit somewhere on an empty layer.

    Returns:
        The opacity of the ink, and of the ink with a thin halo.
    """
    cell = height / len(digit)
    # Strokes touch the border of the samples. Without a margin the strokes
    # would end in a straight cut.
    side = round(cell * (len(digit) + 2))
    field = cv2.resize(
        np.pad(digit, 1), (side, side), interpolation=cv2.INTER_CUBIC
    )
    ink = np.clip((field - 0.33) / 0.3, 0, 1)
    reach = 2 * max(1, round(0.3 * cell)) + 1
    halo = cv2.dilate(
        ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    )
    x, y, width, height = cv2.boundingRect((halo > 0).astype(np.uint8))
    top = rng.integers(shape[0] - height + 1)
    left = rng.integers(shape[1] - width + 1)
    layers = np.zeros((2, *shape), np.float32)
    layers[:, top : top + height, left : left + width] = np.stack((ink, halo))[
        :, y : y + height, x : x + width
    ]
    return layers[0], layers[1]


def _paint(
    image: np.ndarray,
    ink: np.ndarray,
    halo: np.ndarray,
    hue: float | None,
    rng: np.random.Generator,
) -> None:
    """Draw a layer in a color that contrasts with the image below."""
    bright = image[ink > 0.5].mean() < rng.uniform(80, 175)
    hue = rng.random() if hue is None else hue
    pure = np.array(colorsys.hsv_to_rgb(hue, 1, 255))
    color = 0.45 * pure + 0.55 * 255 if bright else 0.4 * pure
    rim = 20 if bright else 235
    blend = image + (0.7 * halo[..., None]) * (rim - image.astype(float))
    blend += ink[..., None] * (color - blend)
    image[:] = np.clip(blend.round(), 0, 255)


def _paint_heap(
    image: np.ndarray, sources: Sources, rng: np.random.Generator
) -> Instance:
    """Draw many small digits of one category; one mask covers all."""
    shape = image.shape[:2]
    height, width = (int(HEAP_SIDE * side) for side in shape)
    top = rng.integers(shape[0] - height + 1)
    left = rng.integers(shape[1] - width + 1)
    window = np.s_[top : top + height, left : left + width]
    category = int(rng.integers(10))
    same = np.flatnonzero(sources.labels == category)
    heap = np.zeros((height, width), np.uint8)
    for index in rng.choice(same, HEAP_DIGITS):
        size = rng.uniform(*HEAP_HEIGHTS) * min(shape)
        ink, halo = _layer(sources.digits[index], size, heap.shape, rng)
        hue = sources.hue(index, rng)
        _paint(image[window], ink, halo, hue, rng)
        heap |= halo > 0.5
    cv2.fillConvexPoly(heap, cv2.convexHull(cv2.findNonZero(heap)), 1)
    mask = np.zeros(shape, bool)
    mask[window] = heap
    return Instance(category, mask, crowd=True)
