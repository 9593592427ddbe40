# Copyright (c) mmnorm contributors. All rights reserved.
"""The momentum of BCN's estimates for a number of images per step."""

MOMENTUM, IMAGES = 0.1, 8


def estimate_momentum(images_per_step: int) -> float:
    """Return the momentum of estimated statistics, ``BCN(estimate=True)``.

    The estimates remember as many images as with a momentum of 0.1 at eight
    images per step: with fewer images per step, each step moves them less.

    Args:
        images_per_step: Images on all GPUs together.

    Example::

        >>> estimate_momentum(1), estimate_momentum(2), estimate_momentum(16)
        (0.0125, 0.025, 0.1)
    """
    return MOMENTUM * min(images_per_step / IMAGES, 1)
