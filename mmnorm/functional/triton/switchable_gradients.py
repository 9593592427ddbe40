# Copyright (c) mmnorm contributors. All rights reserved.
"""Gradients of switchable norm: a program per tile of images.

Each program adds up its images. The last one adds up the programs, in an order
that does not depend on which program is the last.
"""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .switchable_tiles import mix, of_batch, softmax
from .teams import add_through_batch, arrive, store_gradients_of_sums


@triton.jit
def _total(tile):
    return tl.sum(tl.sum(tile, 1), 0)


@triton.jit
def _add_programs(ptr, channel, exists, stride, PROGRAMS: tl.constexpr):
    # Add a number per channel over all programs, PROGRAMS at once.
    total = tl.zeros_like(channel).to(tl.float32)
    for start in range(0, tl.num_programs(0), PROGRAMS):
        program = start + tl.arange(0, PROGRAMS)
        inside = (program < tl.num_programs(0))[:, None] & exists[None, :]
        at = program[:, None] * stride + channel[None, :]
        parts = tl.load(ptr + at, inside, 0.0, cache_modifier='.cg')
        total += tl.sum(parts, 0)
    return total


@triton.jit
def mix_moments_grad(
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
    batch_sums_ptr,
    grad_batch_sums_ptr,
    num_images,
    num_channels,
    eps,
    HAS_BATCH: tl.constexpr,
    FUSED: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # FUSED adds the gradient through the affine map, and with 'batch' that
    # through the moments of the batch: then grad_var_ptr follows grad_mean_ptr
    # in one tensor. With 'total' the batch is that of all processes, and
    # another kernel does the latter.
    channel = tl.arange(0, BLOCK)
    exists = channel < num_channels
    image = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES)
    inside = (image < num_images)[:, None] & exists[None, :]
    plane = image[:, None] * num_channels + channel[None, :]
    weight = tl.load(weight_ptr + channel, exists, 0.0).to(tl.float32)
    batch_mean = of_batch(batch_mean_ptr, channel, exists, HAS_BATCH)
    batch_var = of_batch(batch_var_ptr, channel, exists, HAS_BATCH)
    w_in, w_ln, w_bn = softmax(mean_weight_ptr, HAS_BATCH)
    u_in, u_ln, u_bn = softmax(var_weight_ptr, HAS_BATCH)
    share = 1.0 / num_channels.to(tl.float32)
    mean = tl.load(mean_ptr + plane, inside, 0.0)
    var = tl.load(var_ptr + plane, inside, 0.0)
    grad_scale = tl.load(grad_scale_ptr + plane, inside, 0.0)
    grad_shift = tl.load(grad_shift_ptr + plane, inside, 0.0)
    layer_mean, layer_offset, layer_var, mixed_offset, rstd = mix(
        mean,
        var,
        batch_mean,
        batch_var,
        mean_weight_ptr,
        var_weight_ptr,
        inside,
        num_channels,
        eps,
        HAS_BATCH,
    )
    scale = weight[None, :] * rstd
    total_grad_scale = grad_scale + mixed_offset * grad_shift
    # g_mean and g_var are the gradients of the mixed moments.
    g_mean = -scale * grad_shift
    g_var = -0.5 * scale * rstd * rstd * total_grad_scale
    g_layer_mean = (tl.sum(w_ln * g_mean, 1) * share)[:, None]
    g_layer_var = (tl.sum(u_ln * g_var, 1) * share)[:, None]
    grad_mean = w_in * g_mean + g_layer_mean
    if FUSED == '':
        grad_mean += scale * grad_shift  # the affine map subtracts it
    grad_mean += 2.0 * layer_offset * g_layer_var
    tl.store(grad_mean_ptr + plane, grad_mean, inside)
    tl.store(grad_var_ptr + plane, u_in * g_var + g_layer_var, inside)
    # Each program has its sums per channel, then those of the logits.
    stride = 4 * num_channels + 6
    own_ptr = partial_ptr + tl.program_id(0) * stride
    sums_ptr = own_ptr + channel
    tl.store(sums_ptr, tl.sum(rstd * total_grad_scale, 0), exists)
    tl.store(sums_ptr + num_channels, tl.sum(grad_shift, 0), exists)
    tl.store(sums_ptr + 2 * num_channels, tl.sum(g_mean, 0), exists)
    tl.store(sums_ptr + 3 * num_channels, tl.sum(g_var, 0), exists)
    # In a row are IN, LN and BN: of the means first, then of the variances.
    own_ptr += 4 * num_channels
    tl.store(own_ptr, _total(g_mean * mean))
    tl.store(own_ptr + 1, _total(g_mean * layer_mean))
    tl.store(own_ptr + 2, _total(g_mean * batch_mean))
    tl.store(own_ptr + 3, _total(g_var * var))
    tl.store(own_ptr + 4, _total(g_var * layer_var))
    tl.store(own_ptr + 5, _total(g_var * batch_var))
    if arrive(counters_ptr, 1) == tl.num_programs(0) - 1:
        tl.store(counters_ptr, 0)
        sum_ptr = partial_ptr
        total = _add_programs(sum_ptr, channel, exists, stride, IMAGES)
        tl.store(grad_weight_ptr + channel, total, exists)
        sum_ptr += num_channels
        total = _add_programs(sum_ptr, channel, exists, stride, IMAGES)
        tl.store(grad_bias_ptr + channel, total, exists)
        term = tl.arange(0, 8)
        logits = _add_programs(
            partial_ptr + 4 * num_channels, term, term < 6, stride, IMAGES
        )
        # The gradient through the softmax is p_k (g_k - sum_j p_j g_j).
        shares = tl.where(term == 0, w_in, 0.0)
        shares = tl.where(term == 1, w_ln, shares)
        shares = tl.where(term == 2, w_bn, shares)
        shares = tl.where(term == 3, u_in, shares)
        shares = tl.where(term == 4, u_ln, shares)
        shares = tl.where(term == 5, u_bn, shares)
        of_means = tl.sum(tl.where(term < 3, shares * logits, 0.0), 0)
        of_vars = tl.sum(tl.where(term < 3, 0.0, shares * logits), 0)
        common = tl.where(term < 3, of_means, of_vars)
        tl.store(grad_logits_ptr + term, shares * (logits - common), term < 6)
        if HAS_BATCH and FUSED != 'affine':
            sum_ptr += num_channels
            of_mean = _add_programs(sum_ptr, channel, exists, stride, IMAGES)
            sum_ptr += num_channels
            of_var = _add_programs(sum_ptr, channel, exists, stride, IMAGES)
            of_mean *= w_bn
            of_var *= u_bn
            if FUSED == '':
                tl.store(grad_batch_mean_ptr + channel, of_mean, exists)
                tl.store(grad_batch_var_ptr + channel, of_var, exists)
            if FUSED == 'total':
                # The mean is that of the batch, unless no gradient passes.
                store_gradients_of_sums(
                    batch_sums_ptr,
                    grad_batch_sums_ptr,
                    of_mean,
                    of_var,
                    tl.load(batch_mean_ptr + channel, exists, 0.0),
                    channel,
                    exists,
                    num_channels,
                )
            if FUSED == 'batch':
                add_through_batch(
                    grad_mean_ptr,
                    mean_ptr,
                    of_mean,
                    of_var,
                    tl.load(batch_mean_ptr + channel, exists, 0.0),
                    channel,
                    exists,
                    num_images,
                    num_channels,
                    1.0 / num_images.to(tl.float32),
                    IMAGES,
                )
