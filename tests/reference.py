# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms as their formulas read: slow, in plain torch, no trick.

Each works on the whole activation and lets autograd do the backward. The
layers are compared with these in float64.
"""

import torch
from torch import Tensor, nn


def over_channels(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(1, -1, *[1] * (x.dim() - 2))


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.transpose(0, 1).flatten(1)  # (C, N * S)
    mean = values.mean(1)
    return mean, (values - mean[:, None]).square().mean(1)


def standardize(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return (x - mean) / (var + eps).sqrt()


def group_norm(x, num_groups, weight, bias, eps):
    z = x.reshape(x.shape[0], num_groups, -1)
    mean = z.mean(2, keepdim=True)
    var = (z - mean).square().mean(2, keepdim=True)
    z = standardize(z, mean, var, eps).reshape(x.shape)
    repeats = x.shape[1] // weight.numel()
    weight = weight.repeat_interleave(repeats)
    bias = bias.repeat_interleave(repeats)
    return z * over_channels(weight, x) + over_channels(bias, x)


def batch_norm(x, mean, var, weight, bias, eps):
    mean, var = over_channels(mean, x), over_channels(var, x)
    z = standardize(x, mean, var, eps)
    return z * over_channels(weight, x) + over_channels(bias, x)


def move(stats: nn.Module, mean: Tensor, var: Tensor) -> None:
    with torch.no_grad():
        stats.num_batches_tracked += 1
        rate = stats.momentum
        if rate is None:
            rate = 1 / stats.num_batches_tracked.item()
        stats.running_mean.mul_(1 - rate).add_(rate * mean)
        stats.running_var.mul_(1 - rate).add_(rate * var)


def gn(layer, x):
    return group_norm(
        x, layer.num_groups, layer.weight, layer.bias, layer.eps
    )


def sync_bn(layer, x):
    mean, var = layer.running_mean, layer.running_var
    if layer.training:
        mean, var = batch_moments(x)
        count = x.numel() // x.shape[1]
        move(layer, mean, var * count / (count - 1))
    return batch_norm(x, mean, var, layer.weight, layer.bias, layer.eps)


def bcn(layer, x):
    bn = layer.bn
    if bn.training and layer.estimate:
        mean, _ = batch_moments(x)
        offset = x.detach() - over_channels(bn.running_mean, x)
        _, offset_var = batch_moments(offset)
        offset_mean, _ = batch_moments(offset)
        move(bn, mean.detach(), offset_var + offset_mean.square())
    if bn.training and not layer.estimate:
        z = sync_bn(bn, x)
    else:
        mean, var = bn.running_mean.clone(), bn.running_var.clone()
        z = batch_norm(x, mean, var, bn.weight, bn.bias, bn.eps)
    return gn(layer, z)


def sn(layer, x):
    if x.dim() == 2:  # one pixel a plane
        return sn(layer, x[..., None])[..., 0]
    planes = tuple(range(2, x.dim()))
    image = tuple(range(1, x.dim()))
    terms = []
    for dims in (planes, image):
        mean = x.mean(dims, keepdim=True)
        terms.append((mean, (x - mean).square().mean(dims, keepdim=True)))
    if layer.use_bn:
        mean, var = layer.running_mean, layer.running_var
        if layer.training:
            mean, var = batch_moments(x)
            move(layer, mean, var)
        terms.append((over_channels(mean, x), over_channels(var, x)))
    mean_shares = layer.mean_weight.softmax(0)
    var_shares = layer.var_weight.softmax(0)
    mean = sum(w * m for w, (m, _) in zip(mean_shares, terms, strict=True))
    var = sum(w * v for w, (_, v) in zip(var_shares, terms, strict=True))
    z = standardize(x, mean, var, layer.eps)
    return z * over_channels(layer.weight, x) + over_channels(layer.bias, x)
