# Copyright (c) mmnorm contributors. All rights reserved.
"""Train the cells of a study that its results file lacks.

A cell that was interrupted resumes from its latest checkpoint. The rows of a
cell are appended to studies/results/STUDY.csv when its training ends. A cell
that another study has trained counts.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import torch

from mmnorm.config.errors import ConfigError
from mmnorm.engine.runner.launch import fail

from .cell import results_of
from .plan import PLANS, ROOT, Cell, Plan, read_plan
from .results_file import append_rows, read_rows
from .training import start

RESULTS = ROOT / 'studies/results'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m studies.run', description=__doc__
    )
    parser.add_argument(
        'study', help='a plan in studies/plans, or the path of another'
    )
    parser.add_argument(
        '--workers',
        type=int,
        help='trainings at the same time; one per GPU by default, or one per '
        'core',
    )
    parser.add_argument(
        '--results',
        type=Path,
        default=RESULTS,
        help='folder of the results files, studies/results by default',
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/studies',
        help='folder of the trainings',
    )
    parser.add_argument(
        '--keep', action='store_true', help='keep the checkpoints'
    )
    return parser.parse_args()


def find_plan(name: str) -> Path:
    """Return the path of a plan; a word names one of studies/plans."""
    found = [p for p in (Path(name), PLANS / f'{name}.yml') if p.is_file()]
    if not found:
        known = ', '.join(sorted(path.stem for path in PLANS.glob('*.yml')))
        fail(f'{name!r} is no study: give a file, or one of {known}')
    return found[0]


def default_workers() -> int:
    """Return the number of GPUs, or else that of the cores to use."""
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


@cache
def commit() -> str:
    """Return the commit of the code, marked if files differ from it."""
    command = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or 'unknown'


@cache
def device() -> str:
    """Return the name of the GPU, or else that of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line for line in lines if line.startswith('model name')]
    return names[0].partition(': ')[2] if names else 'CPU'


def rows_of(
    study: str, cell: Cell, results: dict, memory_mb: float | None
) -> list[dict]:
    """Return the rows of a cell, one per metric."""
    seconds = results.pop('seconds')
    memory_mb = results.pop('memory_mb') or memory_mb
    shared = {
        'study': study,
        **cell._asdict(),
        'seconds': f'{seconds:.0f}',
        'memory_mb': f'{memory_mb:.0f}' if memory_mb else '',
        'device': device(),
        'torch': torch.__version__,
        'commit': commit(),
    }
    return [
        shared | {'metric': metric, 'value': f'{value:.5g}'}
        for metric, value in results.items()
    ]


class Study:
    """The trainings of a plan that run at the same time.

    Args:
        plan: The plan.
        results: The folder of the results files.
        work_dirs: The folder of the trainings.
        workers: Number of trainings at the same time.
        keep: Whether to keep the checkpoints.
    """

    def __init__(
        self,
        plan: Plan,
        results: Path,
        work_dirs: Path,
        workers: int,
        keep: bool,
    ) -> None:
        self.plan = plan
        self.results = results
        self.work_dirs = work_dirs
        self.free = list(range(workers))
        self.keep = keep
        self.running: dict[int, tuple[Cell, subprocess.Popen, int]] = {}
        filled = self._filled()
        self.waiting = [cell for cell in plan.cells if cell not in filled]
        self.began, self.ended = time.monotonic(), 0

    def train(self) -> int:
        """Train what the results lack, and return the number of failures."""
        failures = 0
        try:
            while self._fill() or self.running:
                # wait4 tells the memory of each process.
                pid, status, usage = os.wait4(-1, 0)
                cell, process, worker = self.running.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.free.append(worker)
                if not self._end(cell, usage.ru_maxrss / 1024):
                    failures += 1
                    log = self._work_dir(cell) / 'log.txt'
                    self._say(cell, f'failed; the end of {log} says why')
        finally:
            for _, process, _ in self.running.values():
                os.killpg(process.pid, signal.SIGTERM)
        return failures

    def _fill(self) -> bool:
        # Starts cells while a worker is free; says whether it did.
        started = False
        while self.waiting and self.free:
            cell = self.waiting.pop(0)
            # Another process may have trained it, and one that was killed
            # may not have written its row.
            if cell in self._filled() or self._end(cell):
                continue
            work_dir = self._work_dir(cell)
            process = start(cell, self.plan, work_dir, self.free[0])
            if process is None:
                self._say(cell, 'another process trains this cell')
                continue
            self.running[process.pid] = cell, process, self.free.pop(0)
            started = True
        return started

    def _end(self, cell: Cell, memory_mb: float | None = None) -> bool:
        # Writes the rows of a training, if it is complete.
        work_dir = self._work_dir(cell)
        values = results_of(cell, self.plan, work_dir)
        if values is None:
            return False
        self.ended += 1
        said = ', '.join(f'{name} {v:.4g}' for name, v in values.items())
        rows = rows_of(self.plan.study, cell, values, memory_mb)
        append_rows(self.results / f'{self.plan.study}.csv', rows)
        self._say(cell, said)
        if not self.keep:
            for checkpoint in work_dir.glob('*.pth'):
                checkpoint.unlink()
        return True

    def _filled(self) -> set[Cell]:
        return {cell for cell, _ in read_rows(self.results)}

    def _work_dir(self, cell: Cell) -> Path:
        return self.work_dirs / cell.name

    def _say(self, cell: Cell, text: str) -> None:
        left = len(self.waiting) + len(self.running)
        when = f'{left} cells'
        if self.ended:
            minutes = (time.monotonic() - self.began) / 60
            when += f', {minutes * left / self.ended:.0f} min'
        print(f'[{when} left] {cell.name}: {text}', flush=True)


def main() -> None:
    args = parse_args()
    try:
        plan = read_plan(find_plan(args.study))
    except ConfigError as error:
        fail(str(error))
    if args.workers is not None and args.workers < 1:
        fail(f'--workers is {args.workers}: give 1 or more')
    commit()  # The code may change while the trainings run.
    # Each step of a long study gives way to other work on the machine.
    os.nice(19)
    # A shell's kill ends the trainings too; they resume later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failures = Study(
        plan,
        args.results,
        args.work_dirs,
        args.workers or default_workers(),
        args.keep,
    ).train()
    if failures:
        fail(f'{failures} cells failed; run the command again to resume them')


if __name__ == '__main__':
    main()
