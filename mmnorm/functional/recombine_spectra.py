# Copyright (c) mmnorm contributors. All rights reserved.
"""An image with the amplitude spectrum of another image."""

import torch
from torch import Tensor


def recombine_spectra(phase_of: Tensor, amplitude_of: Tensor) -> Tensor:
    r"""Return the phase of one image with the amplitude of another one.

    Paper: `Amplitude-Phase Recombination
    <https://arxiv.org/abs/2108.08487>`_.

    .. math::
        F^{-1}\left(|F(a)| \, e^{i \arg F(p)}\right)

    F is the discrete Fourier transform over all dimensions, the channels
    included, as in the authors' code.

    Args:
        phase_of: The image p, of floating point numbers.
        amplitude_of: The image a.

    Shape:
        - phase_of, amplitude_of, output: :math:`(C, H, W)`.

    Example::

        >>> image = torch.rand(3, 5, 4)
        >>> same = recombine_spectra(image, image)
        >>> torch.testing.assert_close(same, image)
    """
    phase = torch.fft.rfftn(phase_of).angle()
    amplitude = torch.fft.rfftn(amplitude_of).abs()
    spectrum = torch.polar(amplitude, phase)
    return torch.fft.irfftn(spectrum, s=phase_of.shape)
