# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of batch, group and batch-channel norm, as Triton kernels.

As plain operators, the coefficients of a layer need tens of launches, and
each launch takes longer than its work. The kernels compute in float32.

The three norms share one kernel forward and one backward, in which the batch
part or the group part may be missing. A program computes the channels of one
group, or a block of channels where there are no groups.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton.language as tl

from .batch_channel_tiles import (
    batch_part,
    load,
    tile_coefficients,
    tile_gradients,
)
from .specialization import kernel_for_any

# Sizes are arguments of a launch, and pointers may have any alignment. The
# compiler sees a size only in BLOCK and IMAGES, which are powers of 2.
kernel = kernel_for_any(
    sizes=(
        'num_channels',
        'num_images',
        'channels_per_group',
        'channels_per_weight',
    ),
    pointers=(
        'batch_mean_ptr',
        'batch_var_ptr',
        'beta_ptr',
        'bias_ptr',
        'counters_ptr',
        'gamma_ptr',
        'grad_batch_mean_ptr',
        'grad_batch_var_ptr',
        'grad_beta_ptr',
        'grad_bias_ptr',
        'grad_gamma_ptr',
        'grad_logits_ptr',
        'grad_mean_ptr',
        'grad_scale_ptr',
        'grad_shift_ptr',
        'grad_var_ptr',
        'grad_weight_ptr',
        'mean_ptr',
        'mean_weight_ptr',
        'partial_ptr',
        'scale_ptr',
        'shift_ptr',
        'var_ptr',
        'var_weight_ptr',
        'weight_ptr',
    ),
)


@kernel
def batch_channel(
    mean_ptr,
    var_ptr,
    batch_mean_ptr,
    batch_var_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    bias_ptr,
    scale_ptr,
    shift_ptr,
    num_images,
    num_channels,
    channels_per_group,
    channels_per_weight,
    batch_eps,
    eps,
    HAS_BATCH: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The grid has one axis, because the other axes end at 65535.
    num_groups = tl.cdiv(num_channels, channels_per_group)
    group = tl.program_id(0) % num_groups
    image = tl.program_id(0) // num_groups * IMAGES + tl.arange(0, IMAGES)
    within = tl.arange(0, BLOCK)
    channel = group * channels_per_group + within
    exists = (within < channels_per_group) & (channel < num_channels)
    inside = (image < num_images)[:, None] & exists[None, :]
    plane = image[:, None] * num_channels + channel[None, :]
    mean = tl.load(mean_ptr + plane, inside, 0.0)
    var = load(var_ptr, plane, inside, 0.0)
    batch_mean = load(batch_mean_ptr, channel, exists, 0.0)
    batch_var = load(batch_var_ptr, channel, exists, 1.0)
    _, alpha, beta = batch_part(
        batch_mean,
        batch_var,
        channel,
        exists,
        gamma_ptr,
        beta_ptr,
        batch_eps,
        HAS_BATCH,
    )
    index = channel // channels_per_weight
    scale, shift = tile_coefficients(
        mean,
        var,
        inside,
        batch_mean,
        alpha,
        beta,
        load(weight_ptr, index, exists, 1.0),
        load(bias_ptr, index, exists, 0.0),
        1.0 / channels_per_group.to(tl.float32),
        eps,
        HAS_GROUPS,
        IMAGES,
        1,
        BLOCK,
    )
    tl.store(scale_ptr + plane, scale, inside)
    tl.store(shift_ptr + plane, shift, inside)


@kernel
def batch_channel_grad(
    mean_ptr,
    var_ptr,
    batch_mean_ptr,
    batch_var_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    grad_scale_ptr,
    grad_shift_ptr,
    grad_mean_ptr,
    grad_var_ptr,
    grad_batch_mean_ptr,
    grad_batch_var_ptr,
    grad_gamma_ptr,
    grad_beta_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    num_images,
    num_channels,
    channels_per_group,
    channels_per_weight,
    batch_eps,
    eps,
    HAS_BATCH: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    WEIGHT_PER_GROUP: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # One program computes all images of a group, so that each sum over the
    # images is always added in the same order.
    group = tl.program_id(0)
    within = tl.arange(0, BLOCK)
    channel = group * channels_per_group + within
    exists = (within < channels_per_group) & (channel < num_channels)
    batch_mean = load(batch_mean_ptr, channel, exists, 0.0)
    batch_var = load(batch_var_ptr, channel, exists, 1.0)
    batch_rstd, alpha, beta = batch_part(
        batch_mean,
        batch_var,
        channel,
        exists,
        gamma_ptr,
        beta_ptr,
        batch_eps,
        HAS_BATCH,
    )
    weight = load(weight_ptr, channel // channels_per_weight, exists, 1.0)
    share = 1.0 / channels_per_group.to(tl.float32)
    sum_alpha = tl.zeros((BLOCK,), tl.float32)
    sum_z_mean = tl.zeros((BLOCK,), tl.float32)
    sum_weight = tl.zeros((BLOCK,), tl.float32)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, num_images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < num_images)[:, None] & exists[None, :]
        plane = image[:, None] * num_channels + channel[None, :]
        grad_shift = tl.load(grad_shift_ptr + plane, inside, 0.0)
        g_z_mean, g_alpha, g_weight, grad_var = tile_gradients(
            tl.load(mean_ptr + plane, inside, 0.0),
            load(var_ptr, plane, inside, 0.0),
            inside,
            tl.load(grad_scale_ptr + plane, inside, 0.0),
            grad_shift,
            batch_mean,
            alpha,
            beta,
            weight,
            share,
            eps,
            HAS_GROUPS,
            IMAGES,
            1,
            BLOCK,
        )
        tl.store(grad_mean_ptr + plane, alpha[None, :] * g_z_mean, inside)
        tl.store(grad_var_ptr + plane, grad_var, inside)
        sum_alpha += tl.sum(g_alpha, 0)
        sum_z_mean += tl.sum(g_z_mean, 0)
        sum_weight += tl.sum(g_weight, 0)
        sum_bias += tl.sum(grad_shift, 0)
    if HAS_BATCH:
        tl.store(grad_beta_ptr + channel, sum_z_mean, exists)
        tl.store(grad_gamma_ptr + channel, batch_rstd * sum_alpha, exists)
        tl.store(grad_batch_mean_ptr + channel, -alpha * sum_z_mean, exists)
        grad_batch_var = -0.5 * alpha * batch_rstd * batch_rstd * sum_alpha
        tl.store(grad_batch_var_ptr + channel, grad_batch_var, exists)
    if HAS_GROUPS:
        if WEIGHT_PER_GROUP:
            tl.store(grad_weight_ptr + group, tl.sum(sum_weight, 0))
            tl.store(grad_bias_ptr + group, tl.sum(sum_bias, 0))
        else:
            tl.store(grad_weight_ptr + channel, sum_weight, exists)
            tl.store(grad_bias_ptr + channel, sum_bias, exists)
