# Copyright (c) mmnorm contributors. All rights reserved.
"""Self-test of whole norms in fused kernels against the formulas."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mmnorm.functional import coefficients as formulas
from mmnorm.functional import normalize
from mmnorm.functional.batch_part import BatchPart
from mmnorm.functional.dispatch import forced, fused_kernels
from mmnorm.functional.statistics import (
    batch_sums,
    moments_of,
    update_statistics,
    with_gradient_of,
)

Results = tuple[Tensor, ...]
Case = tuple[str, torch.dtype, Callable[[], Results]]
CHANNELS, GROUPS, EPS = 24, 4, 1e-3
# A case is the kind of the batch part and the gradient of the estimates.
# With one image the gradient of the batch is that of the image.
KINDS = (
    ('', ''),
    ('given', ''),
    ('step', ''),
    ('step', 'batch'),
    ('estimated', ''),
    ('estimated', 'image'),
    ('estimated', 'batch'),
    ('unbiased', 'batch'),
)


def random(device: torch.device, *shape: int) -> Tensor:
    """Return random numbers from 0 to 1.

    Args:
        device: The device of the result.
        shape: The shape of the result.
    """
    # A separate generator leaves the random numbers of a training as they are,
    # and the kernels do not support float64, which may be the default dtype.
    generator = torch.Generator(device).manual_seed(0)
    options = dict(dtype=torch.float32, device=device)
    return torch.rand(shape, generator=generator, **options)


def fused_cases(device: torch.device) -> Iterator[Case]:
    """Yield a name, a dtype and a function that runs on either backend.

    Args:
        device: The device of all tensors.
    """
    for i, (kind, gradient) in enumerate(KINDS):
        for channels_last in (False, True):
            name = f'fused norm of kind {kind!r} and gradient {gradient!r}'
            images = 1 + i % 2 if kind != 'estimated' else 3
            run = _Run(device, kind, gradient, images, channels_last)
            yield name, torch.float32, run
    for kind in ('', 'biased'):
        run = _Run(device, kind, 'batch' if kind else '', 2, False)
        run.switchable = True
        yield f'fused switchable norm of kind {kind!r}', torch.float32, run
    for kind in ('estimated', 'unbiased', 'biased'):
        run = _Run(device, kind, 'batch', 3, kind == 'unbiased')
        run.switchable, run.waits = kind == 'biased', True
        name = f'fused norm of kind {kind!r} with an all-reduce'
        yield name, torch.float32, run


class _Run:
    """One forward and backward of a norm on the backend of the moment."""

    switchable = False
    waits = False  # for the sums of other processes, which are 0

    def __init__(
        self,
        device: torch.device,
        kind: str,
        gradient: str,
        images: int,
        channels_last: bool,
    ) -> None:
        # A plane has several chunks, of which the last is shorter.
        x, dy = 4 * random(device, 2, images, CHANNELS, 17, 19) - 1.5
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.x, self.dy, self.kind, self.gradient = x, dy, kind, gradient
        self.parameters = random(device, 4, CHANNELS) + 0.5
        self.logits = random(device, 2, 3 if kind else 2)
        self.running = random(device, 2, CHANNELS) + 0.5

    def __call__(self) -> Results:
        leaves = [self.x, *self.parameters, *self.logits]
        leaves = [t.detach().clone().requires_grad_() for t in leaves]
        leaves[0] = self.x.detach().requires_grad_()
        running = *self.running.clone(), torch.tensor(3, device=self.x.device)
        sums = self.x.new_zeros(2 * CHANNELS + 2, dtype=torch.float64)
        part = BatchPart(
            self.kind, *running, sums, 0.3, EPS, self.gradient, 0.6
        )
        if self.kind in ('biased', 'unbiased'):
            part = part._replace(share=1.0)
        if self.waits:
            part = part._replace(reduce=lambda sums: None)
        batch = part if self.kind else None
        y = self._norm(leaves, batch)
        grads = torch.autograd.grad(y, leaves, self.dy, allow_unused=True)
        found = [g for g in grads if g is not None]
        return y.detach(), *running, sums, *found

    def _norm(self, leaves: list[Tensor], batch: BatchPart | None) -> Tensor:
        x, gamma, beta, weight, bias, *logits = leaves
        activation = nn.SiLU()
        if self.switchable:
            kernels = fused_kernels(x, 'launch_fused_switchable')
            parameters = *logits, weight, bias
            if kernels:
                return kernels.switchable_norm(
                    x, parameters, EPS, batch, activation
                )
        else:
            kernels = fused_kernels(x)
            of_batch = (gamma, beta) if batch else (None, None)
            norm = GROUPS, *of_batch, weight, bias, EPS
            if kernels:
                return kernels.fused_norm(x, norm, batch, activation)

        def coefficients(mean: Tensor, var: Tensor, num_pixels: int) -> tuple:
            stats = batch and _statistics(batch, mean, var, num_pixels)
            if self.switchable:
                return formulas.switchable_coefficients(
                    mean, var, stats, *parameters, EPS
                )
            if batch is None:
                return formulas.group_coefficients(
                    mean, var, GROUPS, weight, bias, EPS
                )
            of_batch = *stats, gamma, beta, EPS
            return formulas.batch_channel_coefficients(
                mean, var, GROUPS, of_batch, weight, bias, EPS
            )

        return normalize(x, coefficients, activation)


def _statistics(
    batch: BatchPart, mean: Tensor, var: Tensor, num_pixels: int
) -> tuple[Tensor, Tensor]:
    """Return what the batch part normalizes with, from the formulas."""
    running = batch[1:4]
    with forced('torch'):
        sums = batch_sums(mean, var, num_pixels)
        if batch.kind == 'step':
            batch.step_sums.add_(sums.detach())
        estimated = batch.kind in ('given', 'step', 'estimated')
        if batch.kind in ('given', 'step'):
            stats = running[0].clone(), running[1].clone()
        else:
            total = sums.detach() if estimated else sums
            rule = batch.momentum, batch.kind
            stats = update_statistics(total, *running, *rule)
    if not estimated or not batch.gradient:
        return stats
    of = (mean, var) if batch.gradient == 'image' else moments_of(sums)[:2]
    return with_gradient_of(of, stats, batch.eps, batch.share)
