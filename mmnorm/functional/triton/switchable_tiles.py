# Copyright (c) mmnorm contributors. All rights reserved.
"""Coefficients of switchable norm, of a tile of images."""
# ruff: noqa: N803, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl


@triton.jit
def softmax(logits_ptr, HAS_BATCH: tl.constexpr):
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
def of_batch(ptr, channel, exists, HAS_BATCH: tl.constexpr):
    value = tl.zeros_like(channel).to(tl.float32)
    if HAS_BATCH:
        value = tl.load(ptr + channel, exists, 0.0).to(tl.float32)
    return value[None, :]


@triton.jit
def mix(
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
    w_in, w_ln, w_bn = softmax(mean_weight_ptr, HAS_BATCH)
    u_in, u_ln, u_bn = softmax(var_weight_ptr, HAS_BATCH)
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
    batch_mean = of_batch(batch_mean_ptr, channel, exists, HAS_BATCH)
    batch_var = of_batch(batch_var_ptr, channel, exists, HAS_BATCH)
    _, _, _, mixed_offset, rstd = mix(
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
