# Copyright (c) mmnorm contributors. All rights reserved.
"""The authors' models, written as their formulas.

A model here is a function of its state dict, with the authors' keys and
shapes, and computes in float64.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference import batch_norm, group_norm

State = dict[str, Tensor]
Norm = Callable[[Tensor, State, str], Tensor]
EPS = 1e-5


def standardize_inside(weight: Tensor) -> Tensor:
    """Standardize as the BCN authors' ImageNet code: epsilon in the root."""
    filters = weight.flatten(1)
    filters = filters - filters.mean(1, keepdim=True)
    var = filters.square().sum(1, keepdim=True) / (filters.shape[1] - 1)
    return (filters / (var + EPS).sqrt()).view_as(weight)


def standardize_outside(weight: Tensor) -> Tensor:
    """Standardize as the WS authors and the BCN authors' DeepLab do."""
    filters = weight.flatten(1)
    filters = filters - filters.mean(1, keepdim=True)
    var = filters.square().sum(1, keepdim=True) / (filters.shape[1] - 1)
    return (filters / (var.sqrt() + EPS)).view_as(weight)


def bn(x: Tensor, state: State, name: str) -> Tensor:
    keys = ('running_mean', 'running_var', 'weight', 'bias')
    return batch_norm(x, *(state[f'{name}.{key}'] for key in keys), EPS)


def gn(x: Tensor, state: State, name: str) -> Tensor:
    weight, bias = (state[f'{name}.{key}'] for key in ('weight', 'bias'))
    return group_norm(x, 32, weight.flatten(), bias.flatten(), EPS)


def bcn(x: Tensor, state: State, name: str) -> Tensor:
    return gn(bn(x, state, f'{name}.pbn'), state, name)


def bcn_of_bn(x: Tensor, state: State, name: str) -> Tensor:
    """Compute BCN with a plain batch norm and an untrained channel part."""
    weight = torch.ones(32, dtype=x.dtype)
    return group_norm(bn(x, state, name), 32, weight, 0 * weight, EPS)


def sn(x: Tensor, state: State, name: str, correction: int = 0) -> Tensor:
    """Compute SN; the authors' code has a correction of 1, the paper 0."""
    means, variances = [], []
    for dims, unbias in (((2, 3), correction), ((1, 2, 3), 0)):
        mean = x.mean(dims, keepdim=True)
        means.append(mean)
        variances.append(x.var(dims, correction=unbias, keepdim=True))
    if correction:  # the layer variance comes from the instance variances
        second = (variances[0] + means[0].square()).mean(1, keepdim=True)
        variances[1] = second - means[1].square()
    means.append(state[f'{name}.running_mean'].view(1, -1, 1, 1))
    variances.append(state[f'{name}.running_var'].view(1, -1, 1, 1))
    logits = {
        key: state.get(f'{name}.{key}', torch.ones(3, dtype=x.dtype))
        for key in ('mean_weight', 'var_weight')
    }
    shares = logits['mean_weight'].softmax(0)
    mean = sum(w * m for w, m in zip(shares, means, strict=True))
    shares = logits['var_weight'].softmax(0)
    var = sum(w * v for w, v in zip(shares, variances, strict=True))
    weight, bias = (
        state[f'{name}.{key}'].view(1, -1, 1, 1) for key in ('weight', 'bias')
    )
    return (x - mean) / (var + EPS).sqrt() * weight + bias


def convolve(x, weight, stride=1, dilation=1):
    return F.conv2d(
        x,
        weight,
        None,
        stride,
        dilation * (weight.shape[2] // 2),
        dilation,
        x.shape[1] // weight.shape[1],
    )


def resnet(
    x: Tensor,
    state: State,
    norm: Norm,
    standardize: Callable[[Tensor], Tensor] = lambda weight: weight,
    letters: str = 'bn',
    last: tuple[int, int] = (2, 1),
) -> list[Tensor]:
    """Compute the features of the four stages of a ResNet of torchvision.

    Args:
        x: Images.
        state: The state dict.
        norm: The norm.
        standardize: The standardization of the filters.
        letters: The first letters of the names of the norms.
        last: Stride of the last stage, and dilation after its first block.
    """

    def step(x, block, number, stride=1, dilation=1):
        weight = standardize(state[f'{block}conv{number}.weight'])
        x = convolve(x, weight, stride, dilation)
        return norm(x, state, f'{block}{letters}{number}')

    x = F.max_pool2d(step(x, '', 1, 2).relu(), 3, 2, 1)
    features = []
    for stage in (1, 2, 3, 4):
        index = 0
        while f'layer{stage}.{index}.conv1.weight' in state:
            block = f'layer{stage}.{index}.'
            stride, dilation = last if stage == 4 else (min(stage, 2), 1)
            stride, dilation = (stride, 1) if index == 0 else (1, dilation)
            if f'{block}conv3.weight' in state:
                y = step(x, block, 1).relu()
                y = step(y, block, 2, stride, dilation).relu()
                y = step(y, block, 3)
            else:
                y = step(x, block, 1, stride).relu()
                y = step(y, block, 2)
            if f'{block}downsample.0.weight' in state:
                weight = standardize(state[f'{block}downsample.0.weight'])
                x = convolve(x, weight, stride)
                x = norm(x, state, f'{block}downsample.1')
            x = (x + y).relu()
            index += 1
        features.append(x)
    return features


def deeplab(x: Tensor, state: State, norm: Norm) -> Tensor:
    """Compute the logits of the BCN authors' DeepLabV3 for each pixel."""

    def step(x, conv, name, dilation=1):
        weight = standardize_outside(state[f'aspp.{conv}.weight'])
        x = convolve(x, weight, 1, dilation)
        return norm(x, state, f'aspp.{name}').relu()

    def upsample(x, like):
        return F.interpolate(
            x, like.shape[2:], mode='bilinear', align_corners=True
        )

    image = x
    x = resnet(x, state, norm, standardize_outside, last=(1, 2))[-1]
    branches = [
        step(x, f'aspp{i}', f'aspp{i}_bn', dilation)
        for i, dilation in ((1, 1), (2, 6), (3, 12), (4, 18))
    ]
    whole = step(x.mean((2, 3), keepdim=True), 'aspp5', 'aspp5_bn')
    x = torch.cat([*branches, upsample(whole, x)], 1)
    x = step(x, 'conv2', 'bn2')
    weight, bias = state['aspp.conv3.weight'], state['aspp.conv3.bias']
    return upsample(F.conv2d(x, weight, bias), image)
