# Copyright (c) mmnorm contributors. All rights reserved.
"""Train mini detectors with NormStatsHook, and plot what their norms did.

The question is that of the BCN paper: do channels die with a norm of one image
alone, and does BCN keep them alive? A run that is complete is not repeated.
The plots and the numbers go to studies/results/norm_stats.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'studies/results/norm_stats'
# The middle of the name of each config in configs/mini.
NORMS = {
    'GN': 'gn-all',
    'GN+WS': 'gn-ws-all',
    'BCN': 'bcn-all',
    'BCN+WS': 'bcn-ws-all',
    'BN': 'bn-all',
}
CONFIG = """\
_base_ = '{base}'

custom_hooks = [
    dict(type='mmnorm.RepeatableHook'),
    dict(type='mmnorm.NormStatsHook', interval=40),
]
"""


def train(norm: str, work_dirs: Path) -> None:
    """Train the mini detector with a norm, unless its last epoch is there."""
    folder = work_dirs / norm
    if (folder / 'epoch_3.pth').is_file():
        return
    print(f'training {norm}', flush=True)
    name = f'mask-rcnn_r18_fpn_{NORMS[norm]}_1xb1-3e_mini-coco.py'
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'config.py'
    config.write_text(CONFIG.format(base=ROOT / 'configs/mini' / name))
    command = [sys.executable, ROOT / 'tools/train.py', config]
    with (folder / 'log.txt').open('w') as log:
        done = subprocess.run(
            [*command, '--work-dir', folder],
            stdout=log,
            stderr=log,
            env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        )
    if done.returncode != 0:
        sys.exit(f'{norm} failed; the reason is at the end of {log.name}')


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.watch_norms', description=__doc__
    )
    parser.add_argument(
        '--work-dirs', type=Path, default=ROOT / 'work_dirs/norm_stats'
    )
    parser.add_argument('--workers', type=int, default=2)
    args = parser.parse_args()
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(partial(train, work_dirs=args.work_dirs), NORMS))
    tool = ROOT / 'tools/analysis_tools/analyze_training.py'
    folders = [args.work_dirs / norm for norm in NORMS]
    subprocess.run(
        [sys.executable, tool, *folders, '--out', RESULTS],
        check=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )


if __name__ == '__main__':
    main()
