# Copyright (c) mmnorm contributors. All rights reserved.
"""Crops of photographs, as inputs of equal size."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SUFFIXES = ('.jpg', '.jpeg', '.png')
LEAST_SIDE = 1 / 6
"""The least side of a crop, in parts of the shorter side of its photograph."""


def photographs(folder: Path | None = None) -> list[np.ndarray]:
    """Return photographs, (H, W, 3) in RGB from 0 to 255.

    Args:
        folder: A folder of images, or None for the two photographs that come
            with scikit-learn.

    Raises:
        ValueError: If the folder has no image that can be read.
    """
    if folder is None:
        # Only this default needs scikit-learn.
        from sklearn.datasets import load_sample_images

        return load_sample_images().images
    paths = sorted(
        path for path in folder.glob('*') if path.suffix.lower() in SUFFIXES
    )
    images = [cv2.imread(str(path)) for path in paths]
    images = [image[..., ::-1] for image in images if image is not None]
    if not images:
        raise ValueError(
            f'{str(folder)!r} has no image: name a folder with files that end '
            f'in {", ".join(SUFFIXES)}'
        )
    return images


def random_crops(
    images: list[np.ndarray], num_crops: int, size: int, seed: int
) -> Tensor:
    """Return random squares of photographs, scaled to one size.

    The photographs take turns. Values are from -1 to 1, as in the authors'
    code.

    Args:
        images: Photographs, (H, W, 3) from 0 to 255.
        num_crops: Number of crops N.
        size: Pixels of a side of a crop, after scaling.
        seed: Seed of the choice.

    Example::

        >>> photo = np.zeros((50, 60, 3), np.uint8)
        >>> crops = random_crops([photo], 2, 8, seed=0)
        >>> crops.shape, crops.unique().item()
        (torch.Size([2, 3, 8, 8]), -1.0)
    """
    rng = np.random.default_rng(seed)
    crops = []
    for index in range(num_crops):
        image = images[index % len(images)]
        height, width, _ = image.shape
        shorter = min(height, width)
        least = max(1, round(LEAST_SIDE * shorter))
        side = int(rng.integers(least, shorter + 1))
        top = int(rng.integers(height - side + 1))
        left = int(rng.integers(width - side + 1))
        crop = image[top : top + side, left : left + side]
        pixels = torch.from_numpy(crop.copy()).float().permute(2, 0, 1)
        scaled = F.interpolate(
            pixels[None], (size, size), mode='bilinear', antialias=True
        )
        crops.append(scaled[0] / 127.5 - 1)
    return torch.stack(crops)
