# Copyright (c) mmnorm contributors. All rights reserved.
"""Start or resume the training of a cell in a process of its own."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import torch

from .cell import config_of
from .plan import ROOT, Cell, Plan


def start(
    cell: Cell, plan: Plan, work_dir: Path, worker: int
) -> subprocess.Popen | None:
    """Start or resume the training of a cell.

    Args:
        cell: The cell.
        plan: The plan of the cell.
        work_dir: The folder of the training.
        worker: Number of the GPU to train on, if there are GPUs.

    Returns:
        The process, or None if another process trains this cell.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (
        (work_dir / 'lock').open('w') as lock,
        (work_dir / 'log.txt').open('a') as log,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        config = work_dir / 'cell.py'
        config_of(cell, plan).dump(config)
        return subprocess.Popen(
            command(cell, config, work_dir),
            stdout=log,
            stderr=log,
            env=environment(worker),
            # The training holds the lock even if this process is killed.
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )


def command(cell: Cell, config: Path, work_dir: Path) -> list[str]:
    """Return the command that trains a cell from its latest checkpoint."""
    words: list = [sys.executable]
    if cell.processes > 1:
        words += ['-m', 'torch.distributed.run', '--standalone']
        words += [f'--nproc-per-node={cell.processes}']
    words += [ROOT / 'tools/train.py', config, '--work-dir', work_dir]
    if cell.processes > 1:
        words += ['--launcher', 'pytorch']
    # A training that is resumed after its last step would evaluate nothing.
    steps = sorted(
        step
        for path in work_dir.glob('iter_*.pth')
        if (step := int(path.stem.removeprefix('iter_'))) < cell.steps
    )
    if steps:
        words += ['--resume', work_dir / f'iter_{steps[-1]}.pth']
    return [str(word) for word in words]


def environment(worker: int) -> dict[str, str]:
    """Return the variables of a training: one thread, and one GPU if any."""
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    variables = {'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(paths)}
    if torch.cuda.is_available():
        variables['CUDA_VISIBLE_DEVICES'] = str(worker)
    return os.environ | variables
