# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of switchable norms, one launch forward, one backward.

The function is the twin of that in :mod:`mmnorm.functional.coefficients`, for
float32 moments on a GPU, with its gradients written out.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import switchable_kernels
from .counters import counters
from .launch import launch
from .launch_coefficients import (
    MAX_POOLED,
    contiguous,
    dtypes,
    images_per_tile,
    next_power_of_2,
)

# With fewer warps, registers spill.
GRAD_WARPS = 16


def supports(function: str, mean: Tensor, *args: object) -> bool:
    """Return whether the kernel of a function supports these arguments."""
    return mean.dtype == torch.float32 and 0 < mean.shape[1] <= MAX_POOLED


def switchable_coefficients(
    mean: Tensor,
    var: Tensor,
    batch: tuple[Tensor, Tensor] | None,
    mean_weight: Tensor,
    var_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    batch = (None, None) if batch is None else batch
    parameters = mean_weight, var_weight, weight, bias
    return _Switchable.apply(mean, var, *batch, *parameters, eps)


class _Switchable(Function):
    @staticmethod
    def forward(
        ctx,
        mean,
        var,
        batch_mean,
        batch_var,
        mean_weight,
        var_weight,
        weight,
        bias,
        eps,
    ) -> tuple[Tensor, Tensor]:
        n, c = mean.shape
        block = next_power_of_2(c)
        images = images_per_tile(n, block)
        ctx.numbers = n, c, float(eps)
        ctx.constants = batch_mean is not None, images, block
        inputs = mean, var, batch_mean, batch_var, mean_weight, var_weight
        ctx.save_for_backward(*inputs, weight)
        scale, shift = torch.empty_like(mean), torch.empty_like(mean)
        tensors = contiguous(*inputs, weight, bias)
        launch(
            switchable_kernels.switchable,
            -(-n // images),
            mean,
            (),
            (*tensors, scale, shift, *ctx.numbers),
            ctx.constants,
            dtypes(tensors),
        )
        return scale, shift

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_scale, grad_shift):
        inputs = ctx.saved_tensors
        mean, terms = inputs[0], inputs[4].numel()
        grad_mean, grad_var = torch.empty_like(mean), torch.empty_like(mean)
        grad_channels = mean.new_empty(4, mean.shape[1])
        grad_logits = mean.new_empty(2, 3)
        n, c, _ = ctx.numbers
        # Without images, the parameters still get gradients of 0.
        programs = max(-(-n // ctx.constants[1]), 1)
        partial = mean.new_empty(programs, 4 * c + 6)
        tensors = contiguous(*inputs, grad_scale, grad_shift)
        grads = grad_mean, grad_var, *grad_channels.unbind(), grad_logits
        shared = partial, counters(mean, 1)
        launch(
            switchable_kernels.switchable_grad,
            programs,
            mean,
            (),
            (*tensors, *grads, *shared, *ctx.numbers),
            ctx.constants,
            dtypes(tensors),
            GRAD_WARPS,
        )
        grad_batch, grad_affine = grad_channels.chunk(2)
        if not ctx.constants[0]:
            grad_batch = None, None
        return (
            grad_mean,
            grad_var,
            *grad_batch,
            *grad_logits[:, :terms],
            *grad_affine,
            None,
        )
