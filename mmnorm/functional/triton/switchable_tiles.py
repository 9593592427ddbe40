# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of switchable norm and their gradients, in one program."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .teams import add_through_batch, store_gradients_of_sums


@triton.jit
def _softmax(logits_ptr, HAS_BATCH: tl.constexpr):
    # The softmax has three terms, or two terms without the batch.
    instance = tl.load(logits_ptr).to(tl.float32)
    layer = tl.load(logits_ptr + 1).to(tl.float32)
    largest = tl.maximum(instance, layer)
    if HAS_BATCH:
        batch = tl.load(logits_ptr + 2).to(tl.float32)
        largest = tl.maximum(largest, batch)
        batch = tl.exp(batch - largest)
    else:
        batch = largest * 0.0
    instance = tl.exp(instance - largest)
    layer = tl.exp(layer - largest)
    total = instance + layer + batch
    return instance / total, layer / total, batch / total


@triton.jit
def _of_batch(ptr, channel, exists, HAS_BATCH: tl.constexpr):
    value = tl.zeros_like(channel).to(tl.float32)
    if HAS_BATCH:
        value = tl.load(ptr + channel, exists, 0.0).to(tl.float32)
    return value[None, :]


@triton.jit
def _total(tile):
    return tl.sum(tl.sum(tile, 1), 0)


@triton.jit
def _mix(
    mean,
    var,
    batch_mean,
    batch_var,
    mean_weight_ptr,
    var_weight_ptr,
    inside,
    num_channels,
    eps,
    HAS_BATCH: tl.constexpr,
):
    share = 1.0 / num_channels.to(tl.float32)
    layer_mean = (tl.sum(mean, 1) * share)[:, None]
    layer_offset = tl.where(inside, mean - layer_mean, 0.0)
    layer_var = (tl.sum(var + layer_offset * layer_offset, 1) * share)[:, None]
    # w has the shares of the means, u those of the variances.
    w_in, w_ln, w_bn = _softmax(mean_weight_ptr, HAS_BATCH)
    u_in, u_ln, u_bn = _softmax(var_weight_ptr, HAS_BATCH)
    mixed_mean = w_in * mean + w_ln * layer_mean + w_bn * batch_mean
    mixed_var = u_in * var + u_ln * layer_var + u_bn * batch_var
    rstd = tl.where(inside, tl.rsqrt(mixed_var + eps), 0.0)
    return layer_mean, layer_offset, layer_var, mean - mixed_mean, rstd


@triton.jit
def mix_moments(
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
    image = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES)
    channel = tl.arange(0, BLOCK)
    exists = channel < num_channels
    inside = (image < num_images)[:, None] & exists[None, :]
    plane = image[:, None] * num_channels + channel[None, :]
    mean = tl.load(mean_ptr + plane, inside, 0.0)
    var = tl.load(var_ptr + plane, inside, 0.0)
    batch_mean = _of_batch(batch_mean_ptr, channel, exists, HAS_BATCH)
    batch_var = _of_batch(batch_var_ptr, channel, exists, HAS_BATCH)
    _, _, _, mixed_offset, rstd = _mix(
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
    weight = tl.load(weight_ptr + channel, exists, 0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, exists, 0.0).to(tl.float32)
    scale = weight[None, :] * rstd
    tl.store(scale_ptr + plane, scale, inside)
    tl.store(shift_ptr + plane, scale * mixed_offset + bias[None, :], inside)


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
    # One program computes all images, so that each sum over the images is
    # always added in the same order. FUSED adds the gradient through the
    # affine map, and with 'batch' that through the moments of the batch: then
    # grad_var_ptr follows grad_mean_ptr in one tensor. With 'total' the batch
    # is that of all processes, and another kernel does the latter.
    channel = tl.arange(0, BLOCK)
    exists = channel < num_channels
    weight = tl.load(weight_ptr + channel, exists, 0.0).to(tl.float32)
    batch_mean = _of_batch(batch_mean_ptr, channel, exists, HAS_BATCH)
    batch_var = _of_batch(batch_var_ptr, channel, exists, HAS_BATCH)
    w_in, w_ln, w_bn = _softmax(mean_weight_ptr, HAS_BATCH)
    u_in, u_ln, u_bn = _softmax(var_weight_ptr, HAS_BATCH)
    share = 1.0 / num_channels.to(tl.float32)
    sum_weight = tl.zeros((BLOCK,), tl.float32)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    sum_mean = tl.zeros((BLOCK,), tl.float32)
    sum_var = tl.zeros((BLOCK,), tl.float32)
    # Row 0 has the gradients of the logits of means, row 1 those of variances.
    # Each image adds one number to a row: sums per channel would not fit into
    # registers.
    row = tl.arange(0, 2)
    grad_in = tl.zeros((2,), tl.float32)
    grad_ln = tl.zeros((2,), tl.float32)
    grad_bn = tl.zeros((2,), tl.float32)
    for start in range(0, num_images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < num_images)[:, None] & exists[None, :]
        plane = image[:, None] * num_channels + channel[None, :]
        mean = tl.load(mean_ptr + plane, inside, 0.0)
        var = tl.load(var_ptr + plane, inside, 0.0)
        grad_scale = tl.load(grad_scale_ptr + plane, inside, 0.0)
        grad_shift = tl.load(grad_shift_ptr + plane, inside, 0.0)
        layer_mean, layer_offset, layer_var, mixed_offset, rstd = _mix(
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
        sum_weight += tl.sum(rstd * total_grad_scale, 0)
        sum_bias += tl.sum(grad_shift, 0)
        sum_mean += tl.sum(g_mean, 0)
        sum_var += tl.sum(g_var, 0)
        grad_in += tl.where(row == 0, _total(g_mean * mean), 0.0)
        grad_in += tl.where(row == 1, _total(g_var * var), 0.0)
        grad_ln += tl.where(row == 0, _total(g_mean * layer_mean), 0.0)
        grad_ln += tl.where(row == 1, _total(g_var * layer_var), 0.0)
        grad_bn += tl.where(row == 0, _total(g_mean * batch_mean), 0.0)
        grad_bn += tl.where(row == 1, _total(g_var * batch_var), 0.0)
    tl.store(grad_weight_ptr + channel, sum_weight, exists)
    tl.store(grad_bias_ptr + channel, sum_bias, exists)
    if HAS_BATCH and FUSED == '':
        tl.store(grad_batch_mean_ptr + channel, w_bn * sum_mean, exists)
        tl.store(grad_batch_var_ptr + channel, u_bn * sum_var, exists)
    if FUSED == 'total':
        # batch_mean is that of the batch, unless no gradient passes.
        store_gradients_of_sums(
            batch_sums_ptr,
            grad_batch_sums_ptr,
            w_bn * sum_mean,
            u_bn * sum_var,
            tl.load(batch_mean_ptr + channel, exists, 0.0),
            channel,
            exists,
            num_channels,
        )
    if FUSED == 'batch':
        tl.debug_barrier()  # other threads have stored the gradients
        add_through_batch(
            grad_mean_ptr,
            mean_ptr,
            w_bn * sum_mean,
            u_bn * sum_var,
            tl.load(batch_mean_ptr + channel, exists, 0.0),
            channel,
            exists,
            num_images,
            num_channels,
            1.0 / num_images.to(tl.float32),
            IMAGES,
        )
    # The gradient through the softmax is p_k (g_k - sum_j p_j g_j).
    p_in = tl.where(row == 0, w_in, u_in)
    p_ln = tl.where(row == 0, w_ln, u_ln)
    p_bn = tl.where(row == 0, w_bn, u_bn)
    common = p_in * grad_in + p_ln * grad_ln + p_bn * grad_bn
    tl.store(grad_logits_ptr + row * 3, p_in * (grad_in - common))
    tl.store(grad_logits_ptr + row * 3 + 1, p_ln * (grad_ln - common))
    tl.store(grad_logits_ptr + row * 3 + 2, p_bn * (grad_bn - common))
