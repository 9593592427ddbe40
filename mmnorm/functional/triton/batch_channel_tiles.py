# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of batch, group and batch-channel norm, of one tile of planes.

A tile has IMAGES images and GROUPS * BLOCK channels: each group fills the
first ``channels_per_group`` places of its block. The batch part or the group
part may be missing. Everything is computed in float32.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl


@triton.jit
def load(ptr, index, exists, default: tl.constexpr):
    # Parameters may be in half precision, or missing.
    if ptr is None:
        value = tl.zeros_like(index).to(tl.float32) + default
    else:
        value = tl.load(ptr + index, exists, 0.0).to(tl.float32)
    return value


@triton.jit
def locate_channels(
    first,
    num_channels,
    channels_per_group,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The result is the channels of a tile and the mask of what exists.
    place = tl.arange(0, GROUPS * BLOCK)
    within = place % BLOCK
    channel = first + place // BLOCK * channels_per_group + within
    return channel, (within < channels_per_group) & (channel < num_channels)


@triton.jit
def group_mean(
    tile,
    share,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The result has the mean of its group in every place.
    groups = tl.reshape(tile, [IMAGES * GROUPS, BLOCK])
    means = (tl.sum(groups, 1) * share)[:, None]
    groups = tl.broadcast_to(means, [IMAGES * GROUPS, BLOCK])
    return tl.reshape(groups, [IMAGES, GROUPS * BLOCK])


@triton.jit
def batch_part(
    batch_mean,
    batch_var,
    channel,
    exists,
    gamma_ptr,
    beta_ptr,
    eps,
    HAS_BATCH: tl.constexpr,
):
    # z = alpha * (x - batch_mean) + beta
    gamma = load(gamma_ptr, channel, exists, 1.0)
    beta = load(beta_ptr, channel, exists, 0.0)
    if HAS_BATCH:
        rstd = tl.where(exists, tl.rsqrt(batch_var + eps), 0.0)
    else:
        rstd = tl.where(exists, 1.0, 0.0)
    return rstd, gamma * rstd, beta


@triton.jit
def _channel_part(
    z_mean,
    z_var,
    inside,
    share,
    eps,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    z_mean = tl.where(inside, z_mean, 0.0)
    center = group_mean(z_mean, share, IMAGES, GROUPS, BLOCK)
    centered = tl.where(inside, z_mean - center, 0.0)
    terms = tl.where(inside, z_var + centered * centered, 0.0)
    var = group_mean(terms, share, IMAGES, GROUPS, BLOCK)
    # An image past the last has variance 0, whose reciprocal root is infinite
    # if eps is 0.
    return centered, tl.where(inside, tl.rsqrt(var + eps), 0.0)


@triton.jit
def tile_coefficients(
    mean,
    var,
    inside,
    batch_mean,
    alpha,
    beta,
    weight,
    bias,
    share,
    eps,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The result is scale and shift. All arguments from batch_mean to bias are
    # per channel; share is one over the channels of a group.
    z_mean = alpha[None, :] * (mean - batch_mean[None, :]) + beta[None, :]
    scale = tl.zeros_like(z_mean) + alpha[None, :]
    shift = z_mean
    if HAS_GROUPS:
        z_var = (alpha * alpha)[None, :] * var
        centered, rstd = _channel_part(
            z_mean, z_var, inside, share, eps, IMAGES, GROUPS, BLOCK
        )
        group_scale = weight[None, :] * rstd
        scale = group_scale * alpha[None, :]
        shift = group_scale * centered + bias[None, :]
    return scale, shift


@triton.jit
def tile_gradients(
    mean,
    var,
    inside,
    grad_scale,
    grad_shift,
    batch_mean,
    alpha,
    beta,
    weight,
    share,
    eps,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The result is the gradients of z_mean, alpha and weight, and that of var
    # with alpha and batch_mean held constant. All are per plane.
    offset = mean - batch_mean[None, :]
    grad_z_mean = grad_shift
    grad_alpha = grad_scale
    grad_weight = tl.zeros_like(grad_scale)
    grad_var = tl.zeros_like(grad_scale)
    if HAS_GROUPS:
        z_mean = alpha[None, :] * offset + beta[None, :]
        z_var = (alpha * alpha)[None, :] * var
        centered, rstd = _channel_part(
            z_mean, z_var, inside, share, eps, IMAGES, GROUPS, BLOCK
        )
        weight = weight[None, :]
        grad_group_scale = alpha[None, :] * grad_scale
        grad_group_scale += centered * grad_shift
        grad_rstd = group_mean(
            weight * grad_group_scale, share, IMAGES, GROUPS, BLOCK
        )
        grad_z_var = -0.5 * rstd * rstd * rstd * grad_rstd
        g_centered = weight * rstd * grad_shift
        g_centered += 2.0 * grad_z_var * centered
        center = group_mean(
            tl.where(inside, g_centered, 0.0), share, IMAGES, GROUPS, BLOCK
        )
        grad_z_mean = tl.where(inside, g_centered - center, 0.0)
        grad_alpha = weight * rstd * grad_scale
        grad_alpha += 2.0 * alpha[None, :] * var * grad_z_var
        grad_var = (alpha * alpha)[None, :] * grad_z_var
        grad_weight = rstd * grad_group_scale
    grad_alpha = tl.where(inside, grad_alpha + offset * grad_z_mean, 0.0)
    return grad_z_mean, grad_alpha, grad_weight, grad_var
