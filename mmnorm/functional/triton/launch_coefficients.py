# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of group and batch norms, one launch forward, one backward.

The functions are the twins of those in :mod:`mmnorm.functional.coefficients`,
for float32 moments on a GPU, with their gradients written out.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import batch_channel_kernels as kernels
from .launch import launch

# A program holds TILE numbers of each tensor in registers, and has CHANNELS
# channels where there are no groups.
TILE, CHANNELS = 2048, 64
# One program pools the moments of so many channels; with more channels,
# registers spill.
MAX_POOLED = 2048


def supports(function: str, mean: Tensor, *args: object) -> bool:
    """Return whether the kernel of a function supports these arguments."""
    num_channels = mean.shape[1]
    if function == 'batch_coefficients':
        pooled, batch_mean = 1, args[0]
    else:
        pooled = num_channels // args[1]  # num_groups
        has_batch = function == 'batch_channel_coefficients'
        batch_mean = args[2][0] if has_batch else None
    if batch_mean is not None and batch_mean.dim() > 1:
        return False  # statistics of each image
    return (
        mean.dtype == torch.float32
        and num_channels > 0
        and pooled <= MAX_POOLED
    )


def group_coefficients(
    mean: Tensor,
    var: Tensor,
    num_groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    batch = None, None, None, None, 0.0
    return _BatchChannel.apply(
        mean, var, num_groups, *batch, weight, bias, eps
    )


def batch_coefficients(
    mean: Tensor,
    batch_mean: Tensor,
    batch_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    batch = batch_mean, batch_var, weight, bias, eps
    return _BatchChannel.apply(mean, None, 0, *batch, None, None, 0.0)


def batch_channel_coefficients(
    mean: Tensor,
    var: Tensor,
    num_groups: int,
    batch: tuple[Tensor, Tensor, Tensor, Tensor, float],
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    return _BatchChannel.apply(
        mean, var, num_groups, *batch, weight, bias, eps
    )


class _BatchChannel(Function):
    @staticmethod
    def forward(
        ctx,
        mean,
        var,
        num_groups,
        batch_mean,
        batch_var,
        gamma,
        beta,
        batch_eps,
        weight,
        bias,
        eps,
    ) -> tuple[Tensor, Tensor]:
        n, c = mean.shape
        per_group = c // num_groups if num_groups else CHANNELS
        block = next_power_of_2(per_group)
        images = images_per_tile(n, block)
        per_weight = 1 if weight is None else c // weight.numel()
        ctx.numbers = (
            *(n, c, per_group, per_weight),
            *(float(batch_eps), float(eps)),
        )
        ctx.constants = batch_mean is not None, num_groups > 0, images, block
        ctx.num_programs = -(-c // per_group)
        inputs = mean, var, batch_mean, batch_var, gamma, beta, weight
        ctx.save_for_backward(*inputs)
        ctx.has_bias = bias is not None
        scale, shift = torch.empty_like(mean), torch.empty_like(mean)
        tensors = contiguous(*inputs, bias)
        launch(
            kernels.batch_channel,
            ctx.num_programs * -(-n // images),
            mean,
            (),
            (*tensors, scale, shift, *ctx.numbers),
            ctx.constants,
            dtypes(tensors),
            _num_warps(block),
        )
        return scale, shift

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_scale, grad_shift):
        moments = ctx.saved_tensors
        mean, var, batch_mean, batch_var, gamma, beta, weight = moments
        c = mean.shape[1]
        num_weights = c if weight is None else weight.numel()
        grad_mean, grad_var = torch.empty_like(mean), torch.empty_like(mean)
        grad_batch = mean.new_empty(4, c)
        grad_affine = mean.new_empty(2, num_weights)
        has_batch, has_groups, images, block = ctx.constants
        tensors = contiguous(*moments, grad_scale, grad_shift)
        grads = grad_mean, grad_var, *grad_batch.unbind()
        launch(
            kernels.batch_channel_grad,
            ctx.num_programs,
            mean,
            (),
            (*tensors, *grads, *grad_affine.unbind(), *ctx.numbers),
            (has_batch, has_groups, num_weights < c, images, block),
            dtypes(tensors),
            _num_warps(block),
        )
        if not has_batch:
            grad_batch = (None,) * 4
        return (
            grad_mean,
            grad_var if has_groups else None,
            None,
            *grad_batch,
            None,
            None if weight is None else grad_affine[0],
            grad_affine[1] if ctx.has_bias else None,
            None,
        )


def next_power_of_2(size: int) -> int:
    """Return the smallest power of 2 that is not below a positive size."""
    return 1 << (size - 1).bit_length()


def images_per_tile(num_images: int, block: int) -> int:
    """Return one of three numbers, because a kernel is compiled for each.

    Args:
        num_images: Number of images.
        block: Numbers per image.
    """
    most = max(TILE // block, 1)
    return min(max(num_images, 1), most) if num_images < 3 else most


def _num_warps(block: int) -> int:
    return 8 if block >= 1024 else 4


def contiguous(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return contiguous tensors; None stays."""
    return tuple(
        t if t is None or t.is_contiguous() else t.contiguous()
        for t in tensors
    )


def dtypes(
    tensors: tuple[Tensor | None, ...],
) -> tuple[torch.dtype | None, ...]:
    """Return the dtypes that a kernel is compiled for."""
    return tuple([None if t is None else t.dtype for t in tensors])
