# Copyright (c) mmnorm contributors. All rights reserved.
"""Whether the Triton kernels agree with the torch operators on a device."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from ...layers.running import settle
from ...sync import batch_sums
from .. import coefficients as formulas
from .. import torch_ops
from . import coefficients, passes, statistics


# The first forward may be one without gradients.
@torch.inference_mode(False)
@torch.enable_grad()
def largest_error(device: torch.device) -> float:
    """The largest difference between the two on small random numbers."""
    pairs = chain(*(f(device) for f in (_passes, _coefficients, _statistics)))
    return max((a - b).abs().max().item() for a, b in pairs)


def _drawn_from(device: torch.device) -> dict[str, object]:
    generator = torch.Generator(device).manual_seed(0)
    return dict(device=device, dtype=torch.float32, generator=generator)


def _passes(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    draw = _drawn_from(device)
    x, dy = torch.randn(2, 2, 24, 40, 41, **draw)
    numbers = torch.randn(4, 2, 24, **draw)
    scale, shift, *grads = numbers

    def of(backend) -> tuple[Tensor, ...]:
        mean, var = backend.moments(x)
        y = backend.affine(x, mean, scale, shift)
        sums = backend.plane_sums(dy, x, mean)
        dx = backend.input_grad(dy, x, mean, scale, *grads)
        return mean, var, y, *sums, dx

    yield from zip(of(passes), of(torch_ops), strict=True)


def _coefficients(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    draw = _drawn_from(device)
    planes = torch.rand(4, 3, 24, **draw)
    channels = torch.rand(6, 24, **draw)
    logits = torch.rand(2, 3, **draw)

    def of(function, *arguments) -> tuple[Tensor, ...]:
        mean, var, *grads = planes.unbind()
        mean, var = mean.requires_grad_(), var.requires_grad_()
        y = function(mean, var, *arguments)
        return *y, *torch.autograd.grad(y, (mean, var), grads)

    batch, affine = channels[:4], channels[4:]
    for name, arguments in (
        ('batch_channel_coefficients', (4, (*batch, 0.1), *affine, 0.1)),
        ('switchable_coefficients', (batch[:2], *logits, *affine, 0.1)),
    ):
        formula = getattr(formulas, name).__wrapped__
        kernel = getattr(coefficients, name)
        yield from zip(
            of(kernel, *arguments), of(formula, *arguments), strict=True
        )


def _statistics(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    mean, var = torch.rand(2, 3, 24, **_drawn_from(device))
    sums = batch_sums.__wrapped__(mean, var, 5)
    # Of ones, for the sums are large.
    yield statistics.batch_sums(mean, var, 5) / sums, sums / sums
    for kind in ('biased', 'unbiased', 'estimated'):

        def of(function, kind=kind) -> tuple[Tensor, ...]:
            running = mean[0].clone(), var[0].clone()
            number = torch.tensor(3, device=device)
            return *function(sums, *running, number, 0.3, kind), *running

        yield from zip(
            of(statistics.settle), of(settle.__wrapped__), strict=True
        )
