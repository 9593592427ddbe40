# Copyright (c) mmnorm contributors. All rights reserved.
"""The augmentations from which APR takes amplitude spectra.

They are the nine operators of AugMix, each at a random level up to 3 of 10,
as in the code of APR. Geometric ones move at most a tenth of the image.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

LEVEL = 3


def _level(most: float) -> float:
    # mmdet draws from the global generator.
    return np.random.uniform(0.1, LEVEL) * most / 10  # noqa: NPY002


def _signed(most: float) -> float:
    sign = np.random.choice([-1, 1])  # noqa: NPY002
    return sign * _level(most)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
    )


def autocontrast(image: Image.Image) -> Image.Image:
    """Stretch each channel to the whole range."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image) -> Image.Image:
    """Make the histogram of each channel flat."""
    return ImageOps.equalize(image)


def posterize(image: Image.Image) -> Image.Image:
    """Keep the three or four highest bits."""
    return ImageOps.posterize(image, 4 - int(_level(4)))


def solarize(image: Image.Image) -> Image.Image:
    """Invert the brightest values."""
    return ImageOps.solarize(image, 256 - int(_level(256)))


def rotate(image: Image.Image) -> Image.Image:
    """Rotate by up to 8 degrees."""
    angle = int(_signed(30))
    return image.rotate(angle, resample=Image.Resampling.BILINEAR)


def shear_x(image: Image.Image) -> Image.Image:
    """Shift rows in proportion to their height."""
    return _affine(image, 1, _signed(0.3), 0, 0, 1, 0)


def shear_y(image: Image.Image) -> Image.Image:
    """Shift columns in proportion to their place."""
    return _affine(image, 1, 0, 0, _signed(0.3), 1, 0)


def translate_x(image: Image.Image) -> Image.Image:
    """Shift the image to a side."""
    return _affine(image, 1, 0, int(_signed(image.width / 3)), 0, 1, 0)


def translate_y(image: Image.Image) -> Image.Image:
    """Shift the image up or down."""
    return _affine(image, 1, 0, 0, 0, 1, int(_signed(image.height / 3)))


AUGMENTATIONS: tuple[Callable[[Image.Image], Image.Image], ...] = (
    autocontrast,
    equalize,
    posterize,
    rotate,
    solarize,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)
