# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of switchable norm, as Triton kernels."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_kernels import kernel
from .switchable_gradients import mix_moments_grad
from .switchable_tiles import mix_moments


@kernel
def switchable(
    mean_ptr,
    var_ptr,
    batch_mean_ptr,
    batch_var_ptr,
    mean_weight_ptr,
    var_weight_ptr,
    weight_ptr,
    bias_ptr,
    scale_ptr,
    shift_ptr,
    num_images,
    num_channels,
    eps,
    HAS_BATCH: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    mix_moments(
        mean_ptr,
        var_ptr,
        batch_mean_ptr,
        batch_var_ptr,
        mean_weight_ptr,
        var_weight_ptr,
        weight_ptr,
        bias_ptr,
        scale_ptr,
        shift_ptr,
        num_images,
        num_channels,
        eps,
        HAS_BATCH,
        IMAGES,
        BLOCK,
    )


@kernel
def switchable_grad(
    mean_ptr,
    var_ptr,
    batch_mean_ptr,
    batch_var_ptr,
    mean_weight_ptr,
    var_weight_ptr,
    weight_ptr,
    grad_scale_ptr,
    grad_shift_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    grad_batch_mean_ptr,
    grad_batch_var_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    grad_logits_ptr,
    partial_ptr,
    counters_ptr,
    num_images,
    num_channels,
    eps,
    HAS_BATCH: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    mix_moments_grad(
        mean_ptr,
        var_ptr,
        batch_mean_ptr,
        batch_var_ptr,
        mean_weight_ptr,
        var_weight_ptr,
        weight_ptr,
        grad_scale_ptr,
        grad_shift_ptr,
        grad_mean_ptr,
        grad_var_ptr,
        grad_batch_mean_ptr,
        grad_batch_var_ptr,
        grad_weight_ptr,
        grad_bias_ptr,
        grad_logits_ptr,
        partial_ptr,
        counters_ptr,
        None,
        None,
        num_images,
        num_channels,
        eps,
        HAS_BATCH,
        '',
        IMAGES,
        BLOCK,
    )
