# Copyright (c) mmnorm contributors. All rights reserved.
"""Time every norm beside torch's and the authors' compositions.

Forward and backward of the layers in ResNet-50 with FPN at 800 x 1333 and in
DeepLab at 512 x 1024, and training steps of Mask R-CNN. Repeats of all layers
are interleaved, so that a busy moment of the machine meets all of them. Raw
numbers, a table and a plot go to benchmarks/results.
"""

import argparse
import copy
import platform
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from benchmark_peers import ComposedBCN, ComposedSN
from benchmark_report import ratios, write
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

import mmnorm

ROOT = Path(__file__).parents[1]
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    'nn.BatchNorm2d': nn.BatchNorm2d,
    'nn.GroupNorm': lambda c: nn.GroupNorm(32, c),
    'composed BCN, estimated': ComposedBCN,
    'composed BCN, batch': lambda c: ComposedBCN(c, estimate=False),
    'composed SN': ComposedSN,
    'mmnorm.SyncBN': mmnorm.SyncBN,
    'mmnorm.GN': mmnorm.GN,
    'mmnorm.BCN': mmnorm.BCN,
    'mmnorm.BCN, batch': lambda c: mmnorm.BCN(c, estimate=False),
    'mmnorm.SN': mmnorm.SN,
}
SHAPES = {  # channels, height, width
    'stem': (64, 400, 672),
    'res2': (256, 200, 336),
    'res3': (512, 100, 168),
    'res4': (1024, 50, 84),
    'res5': (2048, 25, 42),
    'fpn stride 8': (256, 100, 152),
    'fpn stride 16': (256, 50, 76),
    'fpn stride 32': (256, 25, 38),
    'deeplab res5': (2048, 64, 128),
    'deeplab head': (512, 64, 128),
}
STEPS = {
    'nn.BatchNorm2d': dict(type='BN'),
    'mmnorm.SyncBN': dict(type='mmnorm.SyncBN'),
    'mmnorm.GN': dict(type='mmnorm.GN'),
    'mmnorm.BCN': dict(type='mmnorm.BCN'),
    'mmnorm.SN': dict(type='mmnorm.SN'),
}


def wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: str) -> float:
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def interleave(
    calls: dict[str, Callable[[], object]], device: str, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after a round that is not kept."""
    rounds = [
        {name: seconds(call, device) for name, call in calls.items()}
        for _ in range(repeats + 1)
    ]
    return {name: [r[name] for r in rounds[1:]] for name in calls}


def step_of(layer: nn.Module, x: Tensor, dy: Tensor) -> Callable[[], None]:
    def step() -> None:
        layer(x).backward(dy)
        x.grad = None

    return step


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """Memory that a layer keeps for its backward, besides its input."""
    kept = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    for t in (x, *layer.parameters(), *layer.buffers()):
        kept.pop(t.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def time_layers(
    shape: tuple[int, ...], device: str, form: torch.memory_format, n: int
) -> list[dict]:
    """A record for each layer on one shape, and for a copy of the input."""
    x = torch.randn(shape, device=device).to(memory_format=form)
    dy = torch.randn_like(x)
    calls: dict[str, Callable[[], object]] = {'copy': x.clone}
    layers = {name: make(shape[1]).to(device) for name, make in LAYERS.items()}
    for name, layer in layers.items():
        calls[name] = step_of(layer, x.clone().requires_grad_(), dy)
    times = interleave(calls, device, n)
    records = []
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values)
        record = {'layer': name, 'ms': middle * 1e3}
        record['quartiles'] = [low * 1e3, high * 1e3]
        if name in layers:
            kept = kept_bytes(layers[name], x.clone().requires_grad_())
            record['kept MB'] = kept / 1e6
        records.append(record)
    return records


def random_sizes(device: str) -> dict[str, float]:
    """Milliseconds that a first call at a new size costs over the second."""
    pick = random.Random(0)
    sizes = [(pick.randint(20, 100), pick.randint(20, 160)) for _ in range(20)]
    stalls = {}
    for name, make in LAYERS.items():
        layer, worst = make(256).to(device), []
        for size in [(60, 90), *sizes]:
            x = torch.randn(1, 256, *size, device=device, requires_grad=True)
            step = step_of(layer, x, torch.randn_like(x))
            first = seconds(step, device)
            again = min(seconds(step, device) for _ in range(3))
            worst.append((first - again) * 1e3)
        stalls[name] = statistics.median(worst[1:])
    return stalls


def time_steps(device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of training steps of Mask R-CNN R50 on one image."""
    calls = {}
    for name, norm_cfg in STEPS.items():
        path = 'configs/_base_/models/mask-rcnn_r50_fpn.py'
        model_cfg = Config.fromfile(ROOT / path).model
        model_cfg.backbone.init_cfg = None
        model_cfg.backbone.norm_cfg = norm_cfg
        model_cfg.neck.norm_cfg = norm_cfg
        model_cfg.roi_head.bbox_head.norm_cfg = norm_cfg
        model_cfg.roi_head.mask_head.norm_cfg = norm_cfg
        with DefaultScope.overwrite_default_scope('mmdet'):
            torch.manual_seed(0)
            model = MODELS.build(model_cfg).to(device).train()
        calls[name] = training_step(model)
    return interleave(calls, device, repeats)


def training_step(model: nn.Module) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = demo_mm_inputs(
        1, [[3, 800, 1333]], num_items=[8], num_classes=80, with_mask=True
    )

    def step() -> None:
        inputs = model.data_preprocessor(copy.deepcopy(data), True)
        loss, _ = model.parse_losses(model(**inputs, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def describe(device: str) -> dict[str, object]:
    of = {'date': datetime.now(UTC).isoformat(timespec='seconds')}
    of |= {'torch': torch.__version__, 'python': platform.python_version()}
    if device == 'cuda':
        return of | {'device': torch.cuda.get_device_name()}
    lines = Path('/proc/cpuinfo').read_text().split('\n')
    names = [line.split(': ')[1] for line in lines if 'model name' in line]
    cpu = names[0] if names else platform.machine()
    return of | {'device': cpu, 'threads': torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cuda = torch.cuda.is_available()
    parser.add_argument('--device', default='cuda' if cuda else 'cpu')
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'benchmarks/results'
    )
    args = parser.parse_args()
    device, repeats = args.device, args.repeats
    results: dict = {'machine': describe(device), 'repeats': repeats}
    results['layers'] = []
    formats = {'NCHW': torch.contiguous_format, 'NHWC': torch.channels_last}
    for n in (1, 2, 8) if device == 'cuda' else (1, 2):
        for name, shape in SHAPES.items():
            for label, form in formats.items():
                records = time_layers((n, *shape), device, form, repeats)
                case = {'name': name, 'shape': [n, *shape], 'format': label}
                case |= {'records': records, 'ratios': ratios(records)}
                results['layers'].append(case)
                print(n, name, label, case['ratios'], flush=True)
    results['stall at a new size, ms'] = random_sizes(device)
    results['steps'] = time_steps(device, max(repeats // 4, 3))

    folder = args.out / results['machine']['device'].replace(' ', '-')
    print(write(results, folder))


if __name__ == '__main__':
    main()
