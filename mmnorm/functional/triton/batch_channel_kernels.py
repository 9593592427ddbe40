# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of batch, group and batch-channel norm, as Triton kernels.

As plain operators, the coefficients of a layer need tens of launches, and
each launch takes longer than its work. The kernels compute in float32.

The three norms share one kernel forward and one backward, in which the batch
part or the group part may be missing. A program computes the channels of one
group, or a block of channels where there are no groups.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

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
        'scale_ptr',
        'shift_ptr',
        'var_ptr',
        'var_weight_ptr',
        'weight_ptr',
    ),
)


@triton.jit
def load(ptr, index, exists, HAS: tl.constexpr, default: tl.constexpr):
    # Parameters may be in half precision, or missing.
    value = tl.zeros_like(index).to(tl.float32) + default
    if HAS:
        value = tl.load(ptr + index, exists, 0.0).to(tl.float32)
    return value


@triton.jit
def _batch_part(
    channel,
    exists,
    batch_mean_ptr,
    batch_var_ptr,
    gamma_ptr,
    beta_ptr,
    batch_eps,
    HAS_BATCH: tl.constexpr,
):
    # z = alpha * (x - batch_mean) + beta
    batch_mean = load(batch_mean_ptr, channel, exists, HAS_BATCH, 0.0)
    batch_var = load(batch_var_ptr, channel, exists, HAS_BATCH, 1.0)
    gamma = load(gamma_ptr, channel, exists, HAS_BATCH, 1.0)
    beta = load(beta_ptr, channel, exists, HAS_BATCH, 0.0)
    if HAS_BATCH:
        rstd = tl.where(exists, tl.rsqrt(batch_var + batch_eps), 0.0)
    else:
        rstd = tl.where(exists, 1.0, 0.0)
    return batch_mean, rstd, gamma * rstd, beta


@triton.jit
def _channel_part(z_mean, z_var, inside, channels_per_group, eps):
    # The tile has the channels of one group in several images.
    share = 1.0 / channels_per_group.to(tl.float32)
    center = tl.sum(tl.where(inside, z_mean, 0.0), 1) * share
    centered = tl.where(inside, z_mean - center[:, None], 0.0)
    var = tl.sum(tl.where(inside, z_var + centered * centered, 0.0), 1) * share
    # An image past the last has variance 0, whose reciprocal root is infinite
    # if eps is 0.
    exists = tl.max(inside.to(tl.int32), 1) > 0
    rstd = tl.where(exists, tl.rsqrt(var + eps), 0.0)
    return centered, rstd, share


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
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
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
    batch_mean, _, alpha, beta = _batch_part(
        channel,
        exists,
        batch_mean_ptr,
        batch_var_ptr,
        gamma_ptr,
        beta_ptr,
        batch_eps,
        HAS_BATCH,
    )
    z_mean = alpha[None, :] * (mean - batch_mean[None, :]) + beta[None, :]
    scale = tl.zeros_like(z_mean) + alpha[None, :]
    shift = z_mean
    if HAS_GROUPS:
        var = tl.load(var_ptr + plane, inside, 0.0)
        z_var = (alpha * alpha)[None, :] * var
        centered, rstd, _ = _channel_part(
            z_mean, z_var, inside, channels_per_group, eps
        )
        index = channel // channels_per_weight
        weight = load(weight_ptr, index, exists, HAS_WEIGHT, 1.0)
        bias = load(bias_ptr, index, exists, HAS_BIAS, 0.0)
        group_scale = weight[None, :] * rstd[:, None]
        scale = group_scale * alpha[None, :]
        shift = group_scale * centered + bias[None, :]
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
    HAS_WEIGHT: tl.constexpr,
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
    batch_mean, batch_rstd, alpha, beta = _batch_part(
        channel,
        exists,
        batch_mean_ptr,
        batch_var_ptr,
        gamma_ptr,
        beta_ptr,
        batch_eps,
        HAS_BATCH,
    )
    index = channel // channels_per_weight
    weight = load(weight_ptr, index, exists, HAS_WEIGHT, 1.0)[None, :]
    sum_alpha = tl.zeros((BLOCK,), tl.float32)
    sum_z_mean = tl.zeros((BLOCK,), tl.float32)
    sum_weight = tl.zeros((BLOCK,), tl.float32)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, num_images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < num_images)[:, None] & exists[None, :]
        plane = image[:, None] * num_channels + channel[None, :]
        mean = tl.load(mean_ptr + plane, inside, 0.0) - batch_mean[None, :]
        grad_scale = tl.load(grad_scale_ptr + plane, inside, 0.0)
        grad_shift = tl.load(grad_shift_ptr + plane, inside, 0.0)
        grad_z_mean = grad_shift
        grad_alpha = grad_scale
        if HAS_GROUPS:
            var = tl.load(var_ptr + plane, inside, 0.0)
            z_mean = alpha[None, :] * mean + beta[None, :]
            z_var = (alpha * alpha)[None, :] * var
            centered, rstd, share = _channel_part(
                z_mean, z_var, inside, channels_per_group, eps
            )
            rstd = rstd[:, None]
            grad_group_scale = alpha[None, :] * grad_scale
            grad_group_scale += centered * grad_shift
            grad_rstd = tl.sum(weight * grad_group_scale, 1)[:, None]
            grad_z_var = -0.5 * rstd * rstd * rstd * grad_rstd * share
            g_centered = weight * rstd * grad_shift
            g_centered += 2.0 * grad_z_var * centered
            center = tl.sum(tl.where(inside, g_centered, 0.0), 1) * share
            grad_z_mean = tl.where(inside, g_centered - center[:, None], 0.0)
            grad_alpha = weight * rstd * grad_scale
            grad_alpha += 2.0 * alpha[None, :] * var * grad_z_var
            grad_var = (alpha * alpha)[None, :] * grad_z_var
            tl.store(grad_var_ptr + plane, grad_var, inside)
            sum_weight += tl.sum(rstd * grad_group_scale, 0)
            sum_bias += tl.sum(grad_shift, 0)
        grad_alpha += mean * grad_z_mean
        tl.store(grad_mean_ptr + plane, alpha[None, :] * grad_z_mean, inside)
        sum_alpha += tl.sum(tl.where(inside, grad_alpha, 0.0), 0)
        sum_z_mean += tl.sum(grad_z_mean, 0)
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
