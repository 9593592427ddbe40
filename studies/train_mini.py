# Copyright (c) mmnorm contributors. All rights reserved.
"""Train the detectors and segmenters of configs/mini, for other studies.

A run that is complete in the work dirs is not repeated.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from .records import scalars

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs/mini'


def train(config: Path, work_dir: Path) -> list[dict]:
    """Train a config, unless its log ends with the last evaluation."""
    cfg = Config.fromfile(config)
    last = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
    records = scalars(work_dir)
    if not records or 'loss' in records[-1] or records[-1]['step'] < last:
        print(f'training {config.stem}', flush=True)
        log = work_dir.with_suffix('.log')
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, ROOT / 'tools/train.py', config]
        command += ['--work-dir', work_dir]
        with log.open('w') as file:
            done = subprocess.run(command, stdout=file, stderr=file)
        if done.returncode != 0:
            sys.exit(
                f'{config.stem} failed; the reason is at the end of {log}'
            )
        records = scalars(work_dir)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.train_mini', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/mini',
        help='folder of the runs, with a folder for each config',
    )
    work_dirs = parser.parse_args().work_dirs
    for config in sorted(CONFIGS.glob('*_mini-c*.py')):
        train(config, work_dirs / config.stem)


if __name__ == '__main__':
    main()
