# Copyright (c) mmnorm contributors. All rights reserved.
"""Compute gradients in the last program of a team, in the backward."""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .batch_channel_tiles import batch_part, load, tile_gradients
from .teams import add_through_batch, merge_sums, store_gradients_of_sums


@triton.jit
def _through_estimates(
    grad_mean, grad_var, mean, var, batch_mean, batch_var, eps, share
):
    # The gradient that the estimates have as if they were the moments of a
    # batch: see with_gradient_of in mmnorm/functional/statistics.py.
    rate = share / (var + eps)
    through_var = (batch_var + eps) * grad_var
    through_var -= 0.5 * (mean - batch_mean) * grad_mean
    return share * grad_mean, rate * through_var


@triton.jit
def _store_parameter_gradients(
    grad_ptr,
    grad_weight,
    grad_bias,
    grad_gamma,
    grad_beta,
    team,
    channel,
    exists,
    num_channels,
    channels_per_group,
    HAS_BATCH: tl.constexpr,
    WEIGHT_PER_GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The order is gamma, beta, weight, bias.
    if HAS_BATCH:
        tl.store(grad_ptr + channel, grad_gamma, exists)
        tl.store(grad_ptr + num_channels + channel, grad_beta, exists)
        grad_ptr += 2 * num_channels
    if WEIGHT_PER_GROUP:
        num_groups = num_channels // channels_per_group
        group = team * GROUPS + tl.arange(0, GROUPS)
        of_weight = tl.sum(tl.reshape(grad_weight, [GROUPS, BLOCK]), 1)
        of_bias = tl.sum(tl.reshape(grad_bias, [GROUPS, BLOCK]), 1)
        tl.store(grad_ptr + group, of_weight, group < num_groups)
        grad_ptr += num_groups
        tl.store(grad_ptr + group, of_bias, group < num_groups)
    else:
        tl.store(grad_ptr + channel, grad_weight, exists)
        tl.store(grad_ptr + num_channels + channel, grad_bias, exists)


@triton.jit
def store_sums(
    partial_ptr,
    grad_planes_ptr,
    channel,
    exists,
    num_images,
    num_channels,
    num_chunks,
    IMAGES: tl.constexpr,
    CHUNKS: tl.constexpr,
    PLACES: tl.constexpr,
):
    num_planes = num_images * num_channels
    for start in range(0, num_images, IMAGES):
        images = start + tl.arange(0, IMAGES)
        inside = (images < num_images)[:, None] & exists[None, :]
        planes = images[:, None] * num_channels + channel[None, :]
        planes = tl.reshape(planes, [IMAGES * PLACES])
        inside = tl.reshape(inside, [IMAGES * PLACES])
        grad_scale, grad_shift = merge_sums(
            partial_ptr, planes, inside, num_planes, num_chunks, CHUNKS
        )
        tl.store(grad_planes_ptr + planes, grad_scale, inside)
        tl.store(grad_planes_ptr + num_planes + planes, grad_shift, inside)


@triton.jit
def store_gradients(
    planes_ptr,
    channels_ptr,
    partial_ptr,
    grad_planes_ptr,
    grad_parameters_ptr,
    batch_sums_ptr,
    grad_batch_sums_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    team,
    channel,
    exists,
    num_images,
    num_channels,
    num_chunks,
    channels_per_group,
    channels_per_weight,
    share,
    batch_eps,
    eps,
    GRADIENT: tl.constexpr,
    HAS_BATCH: tl.constexpr,
    WEIGHT_PER_GROUP: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    CHUNKS: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    num_planes = num_images * num_channels
    scales_ptr = planes_ptr + 2 * num_planes
    PLACES: tl.constexpr = GROUPS * BLOCK
    batch_mean = tl.zeros((PLACES,), tl.float32)
    batch_var = tl.zeros((PLACES,), tl.float32)
    if HAS_BATCH:
        batch_ptr = channels_ptr + channel
        batch_mean = tl.load(batch_ptr, exists, 0.0)
        batch_var = tl.load(batch_ptr + num_channels, exists, 0.0)
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
    # The derivative of alpha with respect to batch_var.
    alpha_by_var = -0.5 * alpha * batch_rstd * batch_rstd
    index = channel // channels_per_weight
    weight = load(weight_ptr, index, exists, 1.0)
    part = 1.0 / channels_per_group.to(tl.float32)
    sum_alpha = tl.zeros((PLACES,), tl.float32)
    sum_z_mean = tl.zeros((PLACES,), tl.float32)
    sum_weight = tl.zeros((PLACES,), tl.float32)
    sum_bias = tl.zeros((PLACES,), tl.float32)
    for start in range(0, num_images, IMAGES):
        images = start + tl.arange(0, IMAGES)
        inside = (images < num_images)[:, None] & exists[None, :]
        planes = images[:, None] * num_channels + channel[None, :]
        grad_scale, grad_shift = merge_sums(
            partial_ptr,
            tl.reshape(planes, [IMAGES * PLACES]),
            tl.reshape(inside, [IMAGES * PLACES]),
            num_planes,
            num_chunks,
            CHUNKS,
        )
        grad_scale = tl.reshape(grad_scale, [IMAGES, PLACES])
        grad_shift = tl.reshape(grad_shift, [IMAGES, PLACES])
        mean = tl.load(planes_ptr + planes, inside, 0.0)
        var = tl.load(planes_ptr + num_planes + planes, inside, 0.0)
        scale = tl.load(scales_ptr + planes, inside, 0.0)
        g_z_mean, g_alpha, g_weight, grad_var = tile_gradients(
            mean,
            var,
            inside,
            grad_scale,
            grad_shift,
            batch_mean,
            alpha,
            beta,
            weight,
            part,
            eps,
            HAS_GROUPS,
            IMAGES,
            GROUPS,
            BLOCK,
        )
        grad_mean = alpha[None, :] * g_z_mean
        if GRADIENT == 'image':
            of_mean, of_var = _through_estimates(
                -grad_mean,
                alpha_by_var[None, :] * g_alpha,
                mean,
                var,
                batch_mean[None, :],
                batch_var[None, :],
                batch_eps,
                share,
            )
            grad_mean += of_mean
            grad_var += of_var
        grad_mean -= scale * grad_shift
        tl.store(grad_planes_ptr + planes, grad_mean, inside)
        tl.store(grad_planes_ptr + num_planes + planes, grad_var, inside)
        sum_alpha += tl.sum(g_alpha, 0)
        sum_z_mean += tl.sum(g_z_mean, 0)
        sum_weight += tl.sum(g_weight, 0)
        sum_bias += tl.sum(grad_shift, 0)
    _store_parameter_gradients(
        grad_parameters_ptr,
        sum_weight,
        sum_bias,
        batch_rstd * sum_alpha,
        sum_z_mean,
        team,
        channel,
        exists,
        num_channels,
        channels_per_group,
        HAS_BATCH,
        WEIGHT_PER_GROUP,
        GROUPS,
        BLOCK,
    )
    if GRADIENT == 'batch' or GRADIENT == 'total':
        of_batch_ptr = batch_ptr + 2 * num_channels
        mean = tl.load(of_batch_ptr, exists, 0.0)
        var = tl.load(of_batch_ptr + num_channels, exists, 0.0)
        of_mean, of_var = _through_estimates(
            -alpha * sum_z_mean,
            alpha_by_var * sum_alpha,
            mean,
            var,
            batch_mean,
            batch_var,
            batch_eps,
            share,
        )
        if GRADIENT == 'total':
            store_gradients_of_sums(
                batch_sums_ptr,
                grad_batch_sums_ptr,
                of_mean,
                of_var,
                mean,
                channel,
                exists,
                num_channels,
            )
    if GRADIENT == 'batch':
        tl.debug_barrier()  # other threads have stored the gradients
        add_through_batch(
            grad_planes_ptr,
            planes_ptr,
            of_mean,
            of_var,
            mean,
            channel,
            exists,
            num_images,
            num_channels,
            1.0 / num_images.to(tl.float32),
            IMAGES,
        )
