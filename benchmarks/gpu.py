# Copyright (c) mmnorm contributors. All rights reserved.
"""Run on one NVIDIA GPU everything that this repository has for a GPU.

Each part runs for at most eight minutes in a process of its own. The output
of a part goes to benchmarks/results/DEVICE/gpu/PART.txt, with the versions,
the date and the exit status. A part that has ended with 0 is not repeated.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks/results'
SECONDS = 480
PYTHON = sys.executable
MINI = 'configs/mini/mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco.py'
SELF_TEST = """
import time, torch
from mmnorm.functional.triton.self_test import first_difference
start = time.perf_counter()
print('first difference:', first_difference(torch.device('cuda')))
print(f'{time.perf_counter() - start:.1f} s, with compilation')
start = time.perf_counter()
first_difference(torch.device('cuda'))
print(f'{time.perf_counter() - start:.1f} s, compiled')
"""


def bench(part: str) -> list[str]:
    return [PYTHON, '-m', 'benchmarks.norms', '--parts', part]


def study(name: str, folder: Path) -> list[str]:
    words = [PYTHON, '-m', 'studies.run', name, '--results', str(folder)]
    return [*words, '--work-dirs', str(ROOT / 'work_dirs/gpu')]


def parts(folder: Path) -> dict[str, list[str]]:
    """Return the command of each part, in the order to run them.

    The first five parts need torch and mmengine alone.

    Args:
        folder: The folder of the device's results.
    """
    tests = [PYTHON, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    train = ['tools/dist_train.sh', MINI, '1', '--work-dir']
    train += ['work_dirs/gpu/nccl', '--cfg-options', 'train_cfg.max_epochs=1']
    return {
        'self-test': [PYTHON, '-c', SELF_TEST],
        'kernels': [*tests, 'tests/functional'],
        'layers': bench('layers'),
        'amp': bench('amp'),
        'sizes': bench('sizes'),
        'steps': bench('steps'),
        'profile': [PYTHON, '-m', 'benchmarks.profile_step'],
        # The mini COCO comes first, and NCCL runs in a world of one process.
        'data': [PYTHON, 'tools/dataset_converters/make_mini_coco.py'],
        'nccl': train,
        'mini': study('gradient-detection', folder / 'studies'),
        'r50': study('r50', folder / 'studies'),
    }


def versions() -> str:
    """Return device, versions, date and commit, one per line."""
    import triton

    command = ['nvidia-smi', '--query-gpu=driver_version']
    command += ['--format=csv,noheader']
    describe = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    values = {
        'device': torch.cuda.get_device_name(),
        'driver': _output(command),
        'torch': torch.__version__,
        'CUDA': torch.version.cuda,
        'triton': triton.__version__,
        'Python': sys.version.split()[0],
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'commit': _output(describe),
    }
    return ''.join(f'{name}: {value}\n' for name, value in values.items())


def run(command: list[str], head: str, path: Path, seconds: float) -> bool:
    """Run a command with its output in a file, and return whether it ended.

    Args:
        command: The command.
        head: The first lines of the file.
        path: The file.
        seconds: The time after which the command is killed; a study and a
            training resume when they are run again.
    """
    start = time.monotonic()
    with path.open('w') as file:
        file.write(f'{head}command: {" ".join(command)}\n\n')
        file.flush()
        try:
            code: int | str = subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                timeout=seconds,
                env=os.environ | {'PYTHON': PYTHON},
            ).returncode
        except subprocess.TimeoutExpired:
            code = 'timeout'
        file.write(f'\nexit {code} after {time.monotonic() - start:.0f} s\n')
    return code == 0


def is_done(path: Path) -> bool:
    """Return whether a part has ended with 0."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return bool(lines) and lines[-1].startswith('exit 0 ')


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.gpu', description=__doc__
    )
    names = list(parts(RESULTS))
    parser.add_argument(
        'parts',
        nargs='*',
        metavar='PART',
        help='parts to run, all by default: ' + ', '.join(names),
    )
    parser.add_argument(
        '--again', action='store_true', help='repeat what is done, too'
    )
    args = parser.parse_args()
    for name in args.parts:
        if name not in names:
            parser.error(f'{name!r} is no part: use one of {", ".join(names)}')
    if not torch.cuda.is_available():
        parser.error('torch finds no GPU: run it on a machine with one')
    folder = RESULTS / torch.cuda.get_device_name().replace(' ', '-')
    (folder / 'gpu').mkdir(parents=True, exist_ok=True)
    failed = list(_run_all(args.parts or names, folder, args.again))
    if failed:
        sys.exit(f'not done: {", ".join(failed)}; run the command again')


def _run_all(names: Iterable[str], folder: Path, again: bool) -> Iterable[str]:
    # Yields the parts that are not done.
    head = versions()
    for name in names:
        path = folder / 'gpu' / f'{name}.txt'
        if is_done(path) and not again:
            print(f'{name}: done before', flush=True)
            continue
        ended = run(parts(folder)[name], head, path, SECONDS)
        print(f'{name}: {path.read_text().splitlines()[-1]}', flush=True)
        if not ended:
            yield name


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT
        )
    except OSError:
        return 'unknown'
    return done.stdout.strip() or 'unknown'


if __name__ == '__main__':
    main()
