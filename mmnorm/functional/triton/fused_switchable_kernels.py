# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of a fused switchable norm, as Triton kernels.

planes_ptr has mean, variance, scale and shift per plane; channels_ptr, the
statistics of the batch per channel; grad_coefficients_ptr, the gradients of
scale and shift; grad_parameters_ptr, those of weight, bias and logits.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .specialization import kernel_for_any
from .switchable_gradients import mix_moments_grad
from .switchable_tiles import mix_moments

kernel = kernel_for_any(
    sizes=('num_channels', 'num_images'),
    pointers=(
        'batch_sums_ptr',
        'bias_ptr',
        'channels_ptr',
        'counters_ptr',
        'grad_batch_sums_ptr',
        'grad_coefficients_ptr',
        'grad_parameters_ptr',
        'grad_planes_ptr',
        'mean_weight_ptr',
        'partial_ptr',
        'planes_ptr',
        'var_weight_ptr',
        'weight_ptr',
    ),
)


@kernel
def fused_switchable(
    planes_ptr,
    channels_ptr,
    mean_weight_ptr,
    var_weight_ptr,
    weight_ptr,
    bias_ptr,
    num_images,
    num_channels,
    eps,
    HAS_BATCH: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    num_planes = num_images * num_channels
    mix_moments(
        planes_ptr,
        planes_ptr + num_planes,
        channels_ptr,
        channels_ptr + num_channels,
        mean_weight_ptr,
        var_weight_ptr,
        weight_ptr,
        bias_ptr,
        planes_ptr + 2 * num_planes,
        planes_ptr + 3 * num_planes,
        num_images,
        num_channels,
        eps,
        HAS_BATCH,
        IMAGES,
        BLOCK,
    )


@kernel
def fused_switchable_grad(
    planes_ptr,
    channels_ptr,
    mean_weight_ptr,
    var_weight_ptr,
    weight_ptr,
    grad_coefficients_ptr,
    grad_planes_ptr,
    grad_parameters_ptr,
    partial_ptr,
    counters_ptr,
    batch_sums_ptr,
    grad_batch_sums_ptr,
    num_images,
    num_channels,
    eps,
    FUSED: tl.constexpr,
    HAS_BATCH: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    num_planes = num_images * num_channels
    mix_moments_grad(
        planes_ptr,
        planes_ptr + num_planes,
        channels_ptr,
        channels_ptr + num_channels,
        mean_weight_ptr,
        var_weight_ptr,
        weight_ptr,
        grad_coefficients_ptr,
        grad_coefficients_ptr + num_planes,
        grad_planes_ptr,
        grad_planes_ptr + num_planes,
        grad_parameters_ptr,
        grad_parameters_ptr,
        grad_parameters_ptr,
        grad_parameters_ptr + num_channels,
        grad_parameters_ptr + 2 * num_channels,
        partial_ptr,
        counters_ptr,
        batch_sums_ptr,
        grad_batch_sums_ptr,
        num_images,
        num_channels,
        eps,
        HAS_BATCH,
        FUSED,
        IMAGES,
        BLOCK,
    )
