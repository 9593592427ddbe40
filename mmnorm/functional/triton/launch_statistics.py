# Copyright (c) mmnorm contributors. All rights reserved.
"""Statistics of a batch, launched before and after the all-reduce.

The functions are the twins of those in :mod:`mmnorm.functional.statistics`,
for float32 on a GPU, with their gradients written out.
"""

import torch
import triton
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import statistics_kernels as kernels

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
) -> tuple[Tensor, Tensor]:
    running = running_mean, running_var, num_batches_tracked
    return _UpdateStatistics.apply(sums, *running, momentum, kind, update)


class _BatchSums(Function):
    @staticmethod
    def forward(ctx, mean, var, num_pixels) -> Tensor:
        n, c = mean.shape
        mean = mean.contiguous()
        ctx.save_for_backward(mean)
        ctx.num_pixels = num_pixels
        sums = mean.new_empty(2 * c + 1, dtype=torch.float64)
        with torch.cuda.device_of(mean):
            kernels.batch_sums[(triton.cdiv(c, BLOCK),)](
                mean,
                var.contiguous(),
                sums,
                n,
                c,
                num_pixels,
                IMAGES=IMAGES,
                BLOCK=BLOCK,
            )
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_sums):
        (mean,) = ctx.saved_tensors
        grad_mean, grad_var = torch.empty_like(mean), torch.empty_like(mean)
        with torch.cuda.device_of(mean):
            kernels.batch_sums_grad[(triton.cdiv(mean.numel(), LARGE_BLOCK),)](
                mean,
                grad_sums.contiguous(),
                grad_mean,
                grad_var,
                mean.numel(),
                mean.shape[1],
                ctx.num_pixels,
                BLOCK=LARGE_BLOCK,
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
        kind,
        update,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(sums)
        mean, var = (torch.empty_like(running_mean) for _ in range(2))
        with torch.cuda.device_of(sums):
            kernels.update_statistics[(1,)](
                sums.contiguous(),
                running_mean,
                running_var,
                num_batches_tracked,
                mean,
                var,
                0.0 if momentum is None else momentum,
                len(mean),
                KIND=kind,
                CUMULATIVE=momentum is None,
                UPDATE=update,
                BLOCK=LARGE_BLOCK,
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
        with torch.cuda.device_of(sums):
            kernels.update_statistics_grad[(triton.cdiv(c, BLOCK),)](
                sums.contiguous(),
                grad_mean.contiguous(),
                grad_var.contiguous(),
                grad_sums,
                c,
                BLOCK=BLOCK,
            )
        return grad_sums, *(None,) * 6
