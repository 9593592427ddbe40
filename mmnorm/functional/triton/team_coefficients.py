# Copyright (c) mmnorm contributors. All rights reserved.
"""Compute coefficients in the last program of a team, in the forward."""
# ruff: noqa: N803, N806, as Triton's compile-time arguments are in capitals

import triton
import triton.language as tl

from .batch_channel_tiles import batch_part, load, tile_coefficients
from .teams import merge_moments


@triton.jit
def write_coefficients(
    planes_ptr,
    channels_ptr,
    gamma_ptr,
    beta_ptr,
    weight_ptr,
    bias_ptr,
    channel,
    exists,
    batch_mean,
    batch_var,
    first_image,
    last_image,
    num_images,
    num_channels,
    channels_per_group,
    channels_per_weight,
    batch_eps,
    eps,
    HAS_BATCH: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    IMAGES: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The moments of the planes are in planes_ptr.
    num_planes = num_images * num_channels
    if HAS_BATCH:
        tl.store(channels_ptr + channel, batch_mean, exists)
        tl.store(channels_ptr + num_channels + channel, batch_var, exists)
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
    weight = load(weight_ptr, index, exists, 1.0)
    bias = load(bias_ptr, index, exists, 0.0)
    share = 1.0 / channels_per_group.to(tl.float32)
    for start in range(first_image, last_image, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < last_image)[:, None] & exists[None, :]
        mean_ptr = planes_ptr + image[:, None] * num_channels
        mean_ptr += channel[None, :]
        var_ptr = mean_ptr + num_planes
        mean = tl.load(mean_ptr, inside, 0.0, cache_modifier='.cg')
        var = tl.load(var_ptr, inside, 0.0, cache_modifier='.cg')
        scale, shift = tile_coefficients(
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
            HAS_GROUPS,
            IMAGES,
            GROUPS,
            BLOCK,
        )
        tl.store(var_ptr + num_planes, scale, inside)
        tl.store(var_ptr + 2 * num_planes, shift, inside)


@triton.jit
def pool_moments(
    partial_ptr,
    planes_ptr,
    channel,
    exists,
    first_image,
    last_image,
    num_images,
    num_channels,
    num_pixels,
    chunk_size,
    IMAGES: tl.constexpr,
    CHUNKS: tl.constexpr,
    PLACES: tl.constexpr,
):
    # Store the moments of the planes, and return those of the channels over
    # the images, by the formula of Chan, Golub and LeVeque.
    num_planes = num_images * num_channels
    pooled_mean = tl.zeros((PLACES,), tl.float32)
    squares = tl.zeros((PLACES,), tl.float32)
    for start in range(first_image, last_image, IMAGES):
        image = start + tl.arange(0, IMAGES)
        inside = (image < last_image)[:, None] & exists[None, :]
        plane = image[:, None] * num_channels + channel[None, :]
        mean, var = merge_moments(
            partial_ptr,
            tl.reshape(plane, [IMAGES * PLACES]),
            tl.reshape(inside, [IMAGES * PLACES]),
            num_planes,
            num_pixels,
            chunk_size,
            CHUNKS,
        )
        mean = tl.reshape(mean, [IMAGES, PLACES])
        var = tl.reshape(var, [IMAGES, PLACES])
        tl.store(planes_ptr + plane, mean, inside)
        tl.store(planes_ptr + num_planes + plane, var, inside)
        before = (start - first_image).to(tl.float32)
        count = tl.minimum(last_image - start, IMAGES).to(tl.float32)
        tile_mean = tl.sum(tl.where(inside, mean, 0.0), 0) / count
        centered = tl.where(inside, mean - tile_mean[None, :], 0.0)
        delta = tile_mean - pooled_mean
        share = count / (before + count)
        pooled_mean += delta * share
        terms = tl.where(inside, var, 0.0) + centered * centered
        squares += tl.sum(terms, 0) + delta * delta * share * before
    count = (last_image - first_image).to(tl.float32)
    return pooled_mean, squares / count
