# Copyright (c) mmnorm contributors. All rights reserved.
"""The phase of one image and the amplitude of another one."""

import cmath

import numpy as np
import pytest
import torch

from mmnorm.functional.recombine_spectra import recombine_spectra

SHAPES = [(3, 8, 8), (3, 5, 7), (3, 6, 5), (1, 1, 1), (3, 1, 4), (1, 3, 2)]


def transform(image, sign: int) -> dict:
    """Compute a Fourier transform as a sum over all values."""
    shape, spectrum = image.shape, {}
    for k in np.ndindex(shape):
        total = 0
        for x in np.ndindex(shape):
            turns = sum(a * b / n for a, b, n in zip(k, x, shape, strict=True))
            total += image[x] * cmath.exp(sign * 2j * cmath.pi * turns)
        spectrum[k] = total
    return spectrum


@pytest.mark.parametrize('shape', [(3, 3, 4), (1, 2, 3), (2, 1, 5)])
def test_equals_sums(shape):
    p, a = torch.rand(2, *shape, dtype=torch.float64)
    phase, amplitude = transform(p.numpy(), -1), transform(a.numpy(), -1)
    mixed = np.empty(shape, complex)
    for k in phase:
        mixed[k] = cmath.rect(abs(amplitude[k]), cmath.phase(phase[k]))
    back = np.empty(shape, complex)
    for x, value in transform(mixed, 1).items():
        back[x] = value / p.numel()
    assert abs(back.imag).max() < 1e-12
    expected = torch.from_numpy(back.real.copy())
    torch.testing.assert_close(recombine_spectra(p, a), expected)


@pytest.mark.parametrize('shape', SHAPES)
def test_equals_whole_spectra(shape):
    p, a = 255 * torch.rand(2, *shape, dtype=torch.float64)
    one, two = np.fft.fftn(p.numpy()), np.fft.fftn(a.numpy())
    expected = np.fft.ifftn(np.abs(two) * np.exp(1j * np.angle(one))).real
    y = recombine_spectra(p, a)
    torch.testing.assert_close(y, torch.from_numpy(expected))
    single = recombine_spectra(p.float(), a.float()).double()
    torch.testing.assert_close(single, y, rtol=0, atol=0.01)


def test_own_amplitude_changes_nothing():
    image = torch.rand(3, 6, 7)
    torch.testing.assert_close(recombine_spectra(image, image), image)


def test_constant_image_has_no_phase():
    y = recombine_spectra(torch.full((1, 4, 4), 9.0), torch.rand(1, 4, 4))
    assert y.isfinite().all()
