# Copyright (c) mmnorm contributors. All rights reserved.
"""Files in the authors' formats, and images.

The numbers are random. ``measured`` gives a file the running statistics of
its own activations, because activations would overflow with random statistics.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from .official import Norm, State


def torchvision_file(name: str) -> State:
    """Make a BN ResNet of torchvision with random statistics."""
    with torch.device('meta'):
        shapes = getattr(torchvision.models, name)().state_dict()
    return {key: numbers(key, value.shape) for key, value in shapes.items()}


def numbers(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith('num_batches_tracked'):
        return torch.tensor(450000)
    if len(shape) == 4:
        # The epsilon of WS matters where the deviation of a filter is small.
        std = 10 ** torch.empty(shape[0], 1, 1, 1).uniform_(-3, -1)
        return std * torch.randn(shape)
    if key.endswith('running_var'):
        return torch.rand(shape) + 0.5
    middle = 1 if key.endswith('weight') else 0
    return middle + 0.2 * torch.randn(shape)


def norms_of(state: State) -> list[str]:
    return [
        key.removesuffix('.running_mean')
        for key in state
        if key.endswith('.running_mean')
    ]


def bcn_file(state: State, groups: int = 32) -> State:
    """Turn a file with BN into the BCN authors' format."""
    norms = norms_of(state)
    out = {}
    for key, value in state.items():
        norm, _, name = key.rpartition('.')
        out[f'{norm}.pbn.{name}' if norm in norms else key] = value
    for norm in norms:
        out[f'{norm}.weight'] = 1 + 0.2 * torch.randn(1, groups, 1)
        out[f'{norm}.bias'] = 0.2 * torch.randn(1, groups, 1)
    return out


def deeplab_file(resnet: str) -> State:
    """Make the BCN authors' DeepLabV3 with 21 classes."""
    state = torchvision_file(resnet)
    state = {k: v for k, v in state.items() if not k.startswith('fc.')}
    convs = {f'aspp{i}': f'aspp{i}_bn' for i in range(1, 6)}
    for conv, norm in (convs | {'conv2': 'bn2'}).items():
        inputs = 5 * 256 if conv == 'conv2' else 2048
        size = 3 if conv in ('aspp2', 'aspp3', 'aspp4') else 1
        key = f'aspp.{conv}.weight'
        state[key] = numbers(key, (256, inputs, size, size))
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'aspp.{norm}.{name}'] = numbers(name, (256,))
    state['aspp.conv3.weight'] = torch.randn(21, 256, 1, 1) / 16
    state['aspp.conv3.bias'] = torch.randn(21)
    return bcn_file(state)


def sn_file(state: State) -> State:
    """Turn a file with BN into the SN authors' format."""
    out = {}
    for key, value in state.items():
        norm, _, name = key.rpartition('.')
        if norm not in norms_of(state):
            out[key] = value
            continue
        norm = norm.replace('bn', 'sn')
        if name in ('weight', 'bias'):
            out[f'{norm}.{name}'] = value.view(1, -1, 1, 1)
        elif name != 'num_batches_tracked':
            out[f'{norm}.{name}'] = value.view(1, -1, 1)
        out[f'{norm}.mean_weight'] = 1 + torch.randn(3)
        out[f'{norm}.var_weight'] = 1 + torch.randn(3)
    return out


def gn_file(state: State) -> State:
    """Turn a file with BN into the WS authors' format, with names of BN."""
    ends = ('running_mean', 'running_var', 'num_batches_tracked')
    return {k: v for k, v in state.items() if not k.endswith(ends)}


def detectron_file(state: State) -> State:
    """Turn a file with BN into a GN ResNet with the names of Detectron."""
    out = {}
    for key, value in gn_file(state).items():
        *path, module, name = key.split('.')
        if module == 'fc':
            out['pred_w' if name == 'weight' else 'pred_b'] = value
            continue
        if path and path[-1] == 'downsample':
            branch, is_conv = '_branch1', module == '0'
        else:
            letter = (
                '' if not path else '_branch2' + 'abc'[int(module[-1]) - 1]
            )
            branch, is_conv = letter, module.startswith('conv')
        stage = (
            f'res{int(path[0].removeprefix("layer")) + 1}_{path[1]}'
            if path
            else 'conv1'
        )
        end = 'w' if is_conv else f'gn_{"s" if name == "weight" else "b"}'
        out[f'{stage}{branch}_{end}'] = value
    return out


def measured(state: State, forward: Callable, norm: Norm, inner: str = ''):
    """Give a file the running statistics of its own activations.

    Args:
        state: The file.
        forward: Called with the state dict in float64 and a norm.
        norm: The norm.
        inner: The name between those of a norm and of its statistics.
    """
    doubles = double(state)

    def measure(x: Tensor, state: State, name: str) -> Tensor:
        for entry, value in (
            ('running_mean', x.mean((0, 2, 3))),
            ('running_var', x.var((0, 2, 3), correction=0)),
        ):
            key = f'{name}{inner}.{entry}'
            # A file holds float32.
            state[key] = value.view_as(state[key]).float().double()
        return norm(x, state, name)

    forward(doubles, measure)
    return {key: value.to(state[key].dtype) for key, value in doubles.items()}


def double(state: State) -> State:
    return {
        key: value.double() if value.is_floating_point() else value
        for key, value in state.items()
    }


def images(size: int = 96) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, size, size, generator=generator).double()
    # Neighboring pixels of an image are similar.
    return F.avg_pool2d(x, 5, 1, 2) * 5
