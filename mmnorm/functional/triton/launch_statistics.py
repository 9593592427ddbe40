# Copyright (c) mmnorm contributors. All rights reserved.
"""Statistics of a batch, launched before and after the all-reduce.

The functions are the twins of those in :mod:`mmnorm.functional.statistics`,
for float32 on a GPU, with their gradients written out.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import statistics_kernels as kernels
from .launch import launch

IMAGES, BLOCK = 32, 64
# A program that has to read all channels reads so many of them at once.
LARGE_BLOCK = 1024


def supports(
    function: str, first: Tensor, second: Tensor, *args: object
) -> bool:
    """Return whether the kernel of a function supports these arguments."""
    # The tensors are plane moments, or sums and running statistics.
    return first.numel() > 0 and second.dtype == torch.float32


def batch_sums(mean: Tensor, var: Tensor, num_pixels: int) -> Tensor:
    return _BatchSums.apply(mean, var, num_pixels)


def update_statistics(
    sums: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    momentum: float | None,
    kind: str,
    update: bool = True,
    base_batch_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    running = running_mean, running_var, num_batches_tracked
    rates = momentum, base_batch_size
    return _UpdateStatistics.apply(sums, *running, *rates, kind, update)


class _BatchSums(Function):
    @staticmethod
    def forward(ctx, mean, var, num_pixels) -> Tensor:
        n, c = mean.shape
        mean = mean.contiguous()
        ctx.save_for_backward(mean)
        ctx.num_pixels = num_pixels
        sums = mean.new_empty(2 * c + 2, dtype=torch.float64)
        launch(
            kernels.batch_sums,
            -(-c // BLOCK),
            mean,
            (),
            (mean, var.contiguous(), sums, n, c, num_pixels),
            (IMAGES, BLOCK),
            num_pixels >> 31,
        )
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_sums):
        (mean,) = ctx.saved_tensors
        grad_mean, grad_var = torch.empty_like(mean), torch.empty_like(mean)
        sizes = mean.numel(), mean.shape[1], ctx.num_pixels
        launch(
            kernels.batch_sums_grad,
            -(-mean.numel() // LARGE_BLOCK),
            mean,
            (),
            (mean, grad_sums.contiguous(), grad_mean, grad_var, *sizes),
            (LARGE_BLOCK,),
            ctx.num_pixels >> 31,
        )
        return grad_mean, grad_var, None


class _UpdateStatistics(Function):
    @staticmethod
    def forward(
        ctx,
        sums,
        running_mean,
        running_var,
        num_batches_tracked,
        momentum,
        base_batch_size,
        kind,
        update,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(sums)
        mean, var = (torch.empty_like(running_mean) for _ in range(2))
        running = running_mean, running_var, num_batches_tracked
        rates = float(momentum or 0), float(base_batch_size or 0)
        launch(
            kernels.update_statistics,
            1,
            sums,
            (),
            (sums.contiguous(), *running, mean, var, *rates, len(mean)),
            (kind, momentum is None, update, LARGE_BLOCK),
        )
        if kind == 'estimated':  # estimates have no gradient
            ctx.mark_non_differentiable(mean, var)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean, grad_var):
        (sums,) = ctx.saved_tensors
        c = len(grad_mean)
        grad_sums = torch.empty_like(sums)
        grads = grad_mean.contiguous(), grad_var.contiguous(), grad_sums
        launch(
            kernels.update_statistics_grad,
            -(-c // BLOCK),
            sums,
            (),
            (sums.contiguous(), *grads, c),
            (BLOCK,),
        )
        return grad_sums, *(None,) * 7
