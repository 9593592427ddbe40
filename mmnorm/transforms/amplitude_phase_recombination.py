# Copyright (c) mmnorm contributors. All rights reserved.
"""Images with the amplitude spectrum of other images."""

from collections import deque

import numpy as np
import torch
from PIL import Image

from mmnorm.functional.recombine_spectra import recombine_spectra
from mmnorm.registry import TRANSFORMS

from .augmentations import AUGMENTATIONS


@TRANSFORMS.register_module()
class AmplitudePhaseRecombination:
    r"""Keep the phase of an image, and take the amplitude from elsewhere.

    Paper: `Amplitude-Phase Recombination: Rethinking Robustness of
    Convolutional Neural Networks in Frequency Domain
    <https://arxiv.org/abs/2108.08487>`_.

    .. math::
        x \leftarrow F^{-1}\left(|F(x')| \, e^{i \arg F(x)}\right)

    with F the Fourier transform of an image over height, width and channels.
    With ``amplitude='augmented'`` (APR-S) :math:`x'` is the image after one
    of nine augmentations, with ``amplitude='other'`` (APR-P) another image.
    A pipeline that lists both is APR-SP. The phase holds the places of
    things, so boxes and masks stay as they are: the transform changes
    ``results['img']`` alone. It belongs behind the loading of the image, where
    images are smallest: the transform of an image of 512 x 1024 pixels takes
    about 0.1 seconds on one core.

    Differences from the authors' code:

    - APR-S first augments the image itself in the authors' code, and takes
      the phase of an augmented image in half of the cases. Both would move
      the objects away from their boxes and masks.
    - The other image of APR-P is one of the last images that this worker has
      loaded, resized to the image. The authors take another image of the
      batch. They also train on the unchanged images of the batch, for which a
      transform has no place.
    - Results below 0 and above 255 become 0 and 255, and are rounded. The
      authors' APR-S drops fractions and wraps such results around.

    Args:
        amplitude: ``'augmented'`` or ``'other'``.
        prob: Share of the images that are changed. The authors use 0.5, and
            0.6 for APR-P on CIFAR.
        buffer_size: Number of images that each worker keeps for ``'other'``.

    Raises:
        ValueError: If an argument has a wrong value, or the image is not of
            8 bits with one or three channels.

    Example::

        train_pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmnorm.AmplitudePhaseRecombination'),
            dict(type='PackDetInputs'),
        ]
    """

    def __init__(
        self,
        amplitude: str = 'augmented',
        prob: float = 0.5,
        buffer_size: int = 16,
    ) -> None:
        name = 'AmplitudePhaseRecombination'
        if amplitude not in ('augmented', 'other'):
            raise ValueError(
                f"{name}.amplitude={amplitude!r}: set it to 'augmented' or "
                "'other'"
            )
        if not 0 <= prob <= 1:
            raise ValueError(
                f'{name}.prob={prob!r}: set it to a number from 0 to 1'
            )
        if buffer_size < 1:
            raise ValueError(
                f'{name}.buffer_size={buffer_size!r}: set it to 1 or more'
            )
        self.amplitude = amplitude
        self.prob = prob
        self.buffer: deque[np.ndarray] = deque(maxlen=buffer_size)

    def __call__(self, results: dict) -> dict:
        """Change the image of a sample.

        Args:
            results: The sample, with the image of shape (H, W) or (H, W, C)
                under ``'img'``.

        Returns:
            The same dict.
        """
        image = results['img']
        channels = image.shape[2] if image.ndim == 3 else 1
        if image.dtype != np.uint8 or channels not in (1, 3):
            raise ValueError(
                f'the image has {channels} channels of {image.dtype}: put '
                'AmplitudePhaseRecombination where images have 1 or 3 '
                'channels of uint8, behind LoadImageFromFile'
            )
        # All images enter the buffer, changed or not.
        others = [x for x in self.buffer if x.shape[2:] == image.shape[2:]]
        if self.amplitude == 'other':
            self.buffer.append(image.copy())
        # mmdet draws from the global generator.
        chosen = np.random.random() < self.prob  # noqa: NPY002
        if not chosen or (self.amplitude == 'other' and not others):
            return results
        if self.amplitude == 'other':
            index = np.random.randint(len(others))  # noqa: NPY002
            source = _to_picture(others[index])
            size = image.shape[1::-1]
            source = source.resize(size, Image.Resampling.BILINEAR)
        else:
            index = np.random.randint(len(AUGMENTATIONS))  # noqa: NPY002
            source = AUGMENTATIONS[index](_to_picture(image))
        results['img'] = _recombine(image, np.asarray(source))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(amplitude={self.amplitude!r}, '
            f'prob={self.prob}, buffer_size={self.buffer.maxlen})'
        )


def _to_picture(image: np.ndarray) -> Image.Image:
    # The order of three channels does not matter here.
    return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _recombine(image: np.ndarray, source: np.ndarray) -> np.ndarray:
    phase_of, amplitude_of = (
        torch.from_numpy(np.array(each.reshape(image.shape), np.float32))
        for each in (image, source)
    )
    if image.ndim == 3:  # the last dimension should be long
        phase_of, amplitude_of = (
            each.permute(2, 0, 1) for each in (phase_of, amplitude_of)
        )
    mixed = recombine_spectra(phase_of, amplitude_of)
    mixed = mixed.round().clamp(0, 255).byte()
    if image.ndim == 3:
        mixed = mixed.permute(1, 2, 0)
    return mixed.contiguous().numpy()
