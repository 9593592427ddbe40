# Copyright (c) mmnorm contributors. All rights reserved.
"""Time every norm beside torch's, the authors' compositions and others'.

Forward and backward of the layers in ResNet-50 with FPN at 800 x 1333 and in
DeepLab at 512 x 1024, in float32 and under autocast with a ReLU behind; what
a new size costs; training steps of Mask R-CNN and DeepLabV3. Repeats of all
competitors are interleaved. Each part leaves its raw numbers in a file of its
own, so that parts can be run again; tables and plots are made of all that are
there.
"""

import argparse
import json
import platform
import warnings
from datetime import datetime, timezone
from pathlib import Path

import torch

from mmnorm.functional.dispatch import ops_for

from .layers import cases, random_sizes, time_case
from .report import PARTS, report

RESULTS = Path(__file__).parents[1] / 'benchmarks/results'


def measure(part: str, device: str, repeats: int) -> list[dict]:
    if part == 'sizes':
        return random_sizes(device)
    if part == 'steps':
        # Layers can be timed without mmdet and mmseg.
        from benchmark_steps import time_steps

        return time_steps(device, max(repeats // 5, 1))
    rows = []
    for case in cases(device, amp=part == 'amp'):
        print(*case.values(), flush=True)
        rows += time_case(case, device, repeats)
    return rows


def describe(device: str) -> dict[str, object]:
    of: dict[str, object] = {
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'torch': torch.__version__,
        'python': platform.python_version(),
        'backend': ops_for(torch.empty(1, device=device)).__name__,
    }
    if device == 'cuda':
        return of | {'device': torch.cuda.get_device_name()}
    lines = Path('/proc/cpuinfo').read_text().split('\n')
    names = [line.split(': ')[1] for line in lines if 'model name' in line]
    cpu = names[0] if names else platform.machine()
    return of | {'device': cpu, 'threads': torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cuda = torch.cuda.is_available()
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        default='cuda' if cuda else 'cpu',
    )
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument(
        '--parts', nargs='+', choices=PARTS, default=PARTS, metavar='PART'
    )
    parser.add_argument('--out', type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f'--repeats is {args.repeats}: ask for 1 or more')
    if args.device == 'cuda' and not cuda:
        parser.error('--device cuda, but torch finds no GPU: ask for cpu')
    # A compiled layer is to be compiled, and not found in a cache on disk.
    torch.compiler.config.force_disable_caches = True
    warnings.filterwarnings('ignore', message='dynamo_pgo force disabled')
    machine = describe(args.device)
    folder = args.out / str(machine['device']).replace(' ', '-')
    folder.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        rows = measure(part, args.device, args.repeats)
        result = {'machine': machine, 'repeats': args.repeats, 'rows': rows}
        text = json.dumps(result, indent=1) + '\n'
        (folder / f'{part}.json').write_text(text)
    print(report(folder))


if __name__ == '__main__':
    main()
