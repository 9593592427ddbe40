# Copyright (c) mmnorm contributors. All rights reserved.
"""Profile a training step of Mask R-CNN R50: where host and GPU spend time.

For each norm the tables have the time of the norms' forward on host and GPU,
by the name of the part of the model, and the operators that take longest.
"""

import argparse
from collections import defaultdict

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from .clock import Call
from .steps import NORMS, mask_rcnn

PREFIX = 'norm of '


def mark_norms(model: nn.Module) -> None:
    """Give the forward of each norm a name in the profile."""
    for name, module in model.named_modules():
        part = '.'.join(name.split('.')[:2])
        # The batch part of BCN is a norm inside a norm, which is not called.
        if hasattr(module, 'eps') and hasattr(module, 'weight'):
            module.forward = _marked(module.forward, PREFIX + part)


def _marked(forward: Call, name: str) -> Call:
    def call(*args: object) -> object:
        with record_function(name):
            return forward(*args)

    return call


def measure(step: Call, device: str, num_steps: int = 3) -> profile:
    """Return the profile of some steps, after two steps to warm up."""
    activities = [ProfilerActivity.CPU]
    if device == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    step()
    step()
    with profile(activities=activities) as found:
        for _ in range(num_steps):
            step()
        if device == 'cuda':
            torch.cuda.synchronize()
    return found


def by_part(found: profile, num_steps: int) -> dict[str, tuple[float, float]]:
    """Return host and GPU milliseconds per step of the norms of each part."""
    times: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in found.key_averages():
        if event.key.startswith(PREFIX):
            total = times[event.key.removeprefix(PREFIX)]
            total[0] += event.cpu_time_total / 1e3 / num_steps
            total[1] += event.device_time_total / 1e3 / num_steps
    return {part: tuple(total) for part, total in sorted(times.items())}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.profile_step', description=__doc__
    )
    parser.add_argument('--norms', nargs='+', default=NORMS, choices=NORMS)
    parser.add_argument('--rows', type=int, default=15)
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    for name in args.norms:
        torch.manual_seed(0)
        found = measure(mask_rcnn(NORMS[name], device, mark_norms), device, 3)
        print(f'\n{name}: forward of the norms, ms per step')
        for part, (host, gpu) in by_part(found, 3).items():
            print(f'{part:32} host {host:8.2f}  GPU {gpu:8.2f}')
        order = f'self_{device}_time_total'
        print(found.key_averages().table(sort_by=order, row_limit=args.rows))


if __name__ == '__main__':
    main()
