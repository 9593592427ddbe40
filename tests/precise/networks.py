# Copyright (c) mmnorm contributors. All rights reserved.
"""Networks with every norm, and batches, for tests of recalibration."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from mmnorm import BCN, SN, SyncBN

NORMS = {
    'BatchNorm': nn.BatchNorm2d,
    'SyncBatchNorm': nn.SyncBatchNorm,
    'SyncBN': SyncBN,
    'SyncBN cumulative': partial(SyncBN, momentum=None),
    'SN': SN,
    'BCN batch': partial(BCN, num_groups=4, estimate=False),
    'BCN estimate': partial(BCN, num_groups=4),
    'BCN step': partial(BCN, num_groups=4, sync='step'),
}


def build(name: str, depth: int = 3) -> nn.Sequential:
    """Build convolutions, norms and activations, with wrong statistics."""
    torch.manual_seed(0)
    modules = []
    for channels in (3, *[8] * (depth - 1)):
        conv = nn.Conv2d(channels, 8, 3, padding=1)
        modules += [conv, NORMS[name](8), nn.ReLU()]
    net = nn.Sequential(*modules).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return scrambled(net)


def scrambled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy with random running statistics."""
    net = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for key, buffer in net.named_buffers():
        noise = torch.rand(buffer.shape, generator=generator)
        if key.endswith('running_mean'):
            buffer.copy_(5 * noise - 2)
        if key.endswith('running_var'):
            buffer.copy_(4 * noise + 0.1)
    return net


def make_batches(number: int, images: int = 2, seed: int = 1) -> list[Tensor]:
    """Make images of different sizes, brightness and contrast."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for i in range(number):
        shape = (images + i % 2, 3, 5 + i % 3, 6 + 2 * (i % 2))
        x = torch.randn(shape, generator=generator).double()
        batches.append(x * (1 + i % 4) + (i % 5) - 2)
    return batches


def statistics(net: nn.Module) -> dict[str, Tensor]:
    kept = ('running_mean', 'running_var')
    buffers = copy.deepcopy(dict(net.named_buffers()))
    return {k: v for k, v in buffers.items() if k.endswith(kept)}


def stats_of(layer: nn.Module) -> nn.Module:
    return layer.bn if isinstance(layer, BCN) else layer
