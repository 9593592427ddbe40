# Copyright (c) mmnorm contributors. All rights reserved.
"""Time every norm beside torch's norms, the authors' code and other packages.

The benchmark has six parts. "layers" times the forward and the backward of the
norms in ResNet-50 with FPN at 800 x 1333 and in DeepLab at 512 x 1024, in
float32. "amp" does the same under autocast, with a ReLU after each norm.
"sizes" times the first call at a new size. "steps" times training steps of
Mask R-CNN and DeepLabV3. "host" times the Python and driver calls around a
layer of Triton kernels, on any Linux with a C compiler, also without a GPU.
"family" times every norm once, at a few shapes in float32. The repeats of all
competitors are interleaved. Each part writes its raw numbers into its own
file, and the report with its plots covers all files in the folder.
"""

import argparse
import json
import platform
import warnings
from datetime import datetime, timezone
from pathlib import Path

import torch

from mmnorm.functional.dispatch import ops_for

from .clock import keep_memory
from .family import family_cases, make_family
from .host.run import run_without_gpu
from .layers import cases, make_layers, random_sizes, time_case
from .report import PARTS, report

RESULTS = Path(__file__).with_name('results')


def measure(part: str, device: str, repeats: int) -> list[dict]:
    if part == 'sizes':
        return random_sizes(device)
    if part == 'steps':
        # The other parts run without mmdet and mmseg.
        from .steps import time_steps

        return time_steps(device, max(repeats // 5, 1))
    if part == 'host':
        return run_without_gpu('benchmarks.host.layers')
    rows, make = [], make_layers
    inputs = cases(device, amp=part == 'amp')
    if part == 'family':
        inputs, make = family_cases(device), make_family
    for case in inputs:
        print(*case.values(), flush=True)
        rows += time_case(case, make(case, device), device, repeats)
    return rows


def describe(device: str) -> dict[str, object]:
    machine: dict[str, object] = {
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'torch': torch.__version__,
        'python': platform.python_version(),
        'backend': ops_for(torch.empty(1, device=device)).__name__,
    }
    if device == 'cuda':
        return machine | {'device': torch.cuda.get_device_name()}
    lines = Path('/proc/cpuinfo').read_text().split('\n')
    names = [line.split(': ')[1] for line in lines if 'model name' in line]
    cpu = names[0] if names else platform.machine()
    return machine | {'device': cpu, 'threads': torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.norms', description=__doc__
    )
    cuda = torch.cuda.is_available()
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        default='cuda' if cuda else 'cpu',
        help='where to run; a GPU by default, if there is one',
    )
    parser.add_argument(
        '--repeats', type=int, default=15, help='rounds of all competitors'
    )
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=PARTS,
        default=PARTS,
        metavar='PART',
        help='parts to run, all by default: ' + ', '.join(PARTS),
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=RESULTS,
        help='folder of the results, with a folder for each device',
    )
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f'--repeats is {args.repeats}: ask for 1 or more')
    if args.device == 'cuda' and not cuda:
        parser.error('--device cuda, but torch finds no GPU: ask for cpu')
    # The benchmark times what the compiler builds now, not a cache on disk.
    torch.compiler.config.force_disable_caches = True
    warnings.filterwarnings('ignore', message='dynamo_pgo force disabled')
    if args.device == 'cpu':
        keep_memory()
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
