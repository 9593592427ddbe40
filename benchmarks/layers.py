# Copyright (c) mmnorm contributors. All rights reserved.
"""Time single layers: those of mmnorm, of torch and of other packages."""

import random
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

import mmnorm
from mmnorm.functional.dispatch import ops_for

from .clock import (
    Call,
    interleave,
    kept_bytes,
    peak_bytes,
    quartiles,
    step_of,
    time_round,
)
from .gpu_peers import FOREIGN, gpu_peers, runs
from .peers import ComposedBCN, ComposedSN

Make = Callable[[int], nn.Module]
PEERS: dict[str, Make] = {
    'nn.BatchNorm2d': nn.BatchNorm2d,
    'nn.GroupNorm': lambda c: nn.GroupNorm(32, c),
    'composed BCN, estimated': ComposedBCN,
    'composed BCN, batch': lambda c: ComposedBCN(c, estimate=False),
    'composed SN': ComposedSN,
}
COMPILED = (
    'composed BCN, estimated',
    'composed BCN, batch',
    'composed SN',
    'mmnorm.BCN',
    'mmnorm.SN',
)
OURS: dict[str, Make] = {
    'mmnorm.SyncBN': mmnorm.SyncBN,
    'mmnorm.GN': mmnorm.GN,
    'mmnorm.BCN': mmnorm.BCN,
    'mmnorm.BCN, batch': lambda c: mmnorm.BCN(c, estimate=False),
    'mmnorm.SN': mmnorm.SN,
}
SHAPES = {  # channels, height, width
    'stem': (64, 400, 672),
    'res2': (256, 200, 336),  # and the FPN at stride 4
    'res3': (512, 100, 168),
    'res4': (1024, 50, 84),
    'res5': (2048, 25, 42),
    'fpn stride 8': (256, 100, 152),
    'fpn stride 16': (256, 50, 76),
    'fpn stride 32': (256, 25, 38),
    'deeplab res5': (2048, 64, 128),
    'deeplab head': (512, 64, 128),
}
# torch.compile takes about 4 s per layer and shape, and a processor without
# units for half precision is slow. These shapes are enough for a comparison.
FEW = ('res4', 'fpn stride 8', 'deeplab head')
FORMATS = {'NCHW': torch.contiguous_format, 'NHWC': torch.channels_last}
_pick = random.Random(0)
SIZES = [(_pick.randint(20, 100), _pick.randint(20, 160)) for _ in range(21)]
# The fewest tensors that a norm moves: x, then x and y in the forward; x and
# dy, then x, dy and dx in the backward.
PASSES = {'forward': 3, 'backward': 5, 'step': 8}


def cases(device: str, amp: bool) -> Iterator[dict]:
    """Yield the inputs of the layers; with ``amp``, in half precision."""
    cuda = device == 'cuda'
    half = 'float16' if cuda else 'bfloat16'
    for n in (1, 2, 8) if cuda else (1, 2):
        for name, shape in SHAPES.items():
            if amp and not cuda and name not in FEW:
                continue
            for label in FORMATS:
                yield {
                    'name': name,
                    'images': n,
                    'shape': [n, *shape],
                    'format': label,
                    'dtype': half if amp else 'float32',
                }


def make_layers(case: dict, device: str) -> dict[str, nn.Module]:
    """Return the layers to time; in half precision, a ReLU follows each."""
    amp, channels = case['dtype'] != 'float32', case['shape'][1]

    def make_all(makes: dict[str, Make]) -> dict[str, nn.Module]:
        layers = {name: make(channels) for name, make in makes.items()}
        if not amp:
            return layers
        return {
            name: nn.Sequential(layer, nn.ReLU(inplace=True))
            for name, layer in layers.items()
        }

    peers = gpu_peers(case['format']) if device == 'cuda' else {}
    layers = make_all(PEERS | peers | OURS)
    if case['name'] in FEW and case['images'] == 2:
        # torch.compile gives up after some shapes, without a warning.
        torch.compiler.reset()
        for name in COMPILED:
            layers[f'{name}, compiled'] = torch.compile(layers[name])
    # On other backends the fused form runs the same operators.
    if amp and ops_for(torch.empty(1, device=device)).fuses(nn.ReLU()):
        for name, layer in make_all(OURS).items():
            mmnorm.fuse_norm_act(layer)
            layers[f'{name}, fused ReLU'] = layer
    return {name: layer.to(device) for name, layer in layers.items()}


def time_case(
    case: dict, layers: dict[str, nn.Module], device: str, repeats: int
) -> list[dict]:
    """Return a row for a copy of the input, and one for each layer."""
    amp, dtype = case['dtype'] != 'float32', getattr(torch, case['dtype'])
    x = torch.randn(case['shape'], device=device, dtype=dtype)
    x = x.to(memory_format=FORMATS[case['format']])
    dy, target = torch.randn_like(x), torch.empty_like(x)
    steps: dict[str, list[Call]] = {'copy': [partial(target.copy_, x.clone())]}
    x.requires_grad_()
    for name, layer in layers.items():
        step = step_of(layer, x, dy, amp)
        if name not in FOREIGN or runs(name, step):
            steps[name] = step
    times = interleave(steps, partial(time_round, device=device), repeats)
    copied = quartiles([seconds[0] for seconds in times['copy']])
    rows = []
    for name, rounds in times.items():
        row = case | {'layer': name, 'copy ms': copied[1] * 1e3}
        if name in layers:
            row |= spread(rounds, copied[1])
            row['kept MB'] = kept_bytes(layers[name], x, amp) / 1e6
            if device == 'cuda':
                launching = [seconds[-1] * 1e3 for seconds in rounds]
                row['launch ms'] = quartiles(launching)
                row['peak MB'] = peak_bytes(steps[name]) / 1e6
        else:
            row['step ms'] = [q * 1e3 for q in copied]
        rows.append(row)
    return rows


def spread(rounds: list[list[float]], copied: float) -> dict:
    """Return quartiles of each direction, and shares of a copy's bandwidth."""
    forward, backward, _ = zip(*rounds, strict=True)
    both = [a + b for a, b in zip(forward, backward, strict=True)]
    row: dict = {}
    for what, of in zip(PASSES, (forward, backward, both), strict=True):
        low, middle, high = quartiles(of)
        row[f'{what} ms'] = [low * 1e3, middle * 1e3, high * 1e3]
        # A copy moves two tensors.
        row[f'{what} share'] = PASSES[what] / 2 * copied / middle
    return row


def random_sizes(device: str) -> list[dict]:
    """Time how much longer the first call at a new size takes.

    A row has the milliseconds of the first call minus those of the fastest
    later call.
    """
    case = {'name': FEW[0], 'images': 2, 'shape': [1, 256, *SIZES[0]]}
    case |= {'format': 'NCHW', 'dtype': 'float32'}
    rows = []
    for name, layer in make_layers(case, device).items():
        stalls = []
        for size in SIZES:
            x = torch.randn(1, 256, *size, device=device, requires_grad=True)
            step = step_of(layer, x, torch.randn_like(x), amp=False)
            first, *again = (time_round(step, device)[-1] for _ in range(4))
            stalls.append((first - min(again)) * 1e3)
        # The first size builds the kernels, and the other sizes use them.
        rows.append({'layer': name, 'stall ms': stalls[1:]})
    return rows
