# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure models of BN whose test images have a share in the statistics.

The study evaluates the two models of configs/mini with batch norms alone,
with several shares, on clean and on noisy images. The numbers go to
studies/results/recalibrate/mixed.json.
"""

import argparse
import json
import re
from pathlib import Path

from mmnorm.precise import mix_image_statistics

from .recalibrate_models import RESULTS, ROOT, RUNS, evaluate, make_runner

NAMES = [name for name in RUNS if '_bn-all' in name or '_syncbn-all' in name]
SHARES = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
Scores = dict[str, dict[str, dict[str, float]]]


def measure(name: str, work_dirs: Path, noise: float) -> dict:
    """Return the results of a trained model with each share."""
    runner = make_runner(name, work_dirs, noise)
    seen = {}
    for share in SHARES:
        mix_image_statistics(runner.model, share)
        seen[f'{share:g}'] = evaluate(runner)
    return seen


def table(results: Scores) -> str:
    """Return a table with a row per share."""
    titles = [re.sub(r'_1xb1[^,]*', '', name) for name in results]
    rows = [f'| share of the image | {" | ".join(titles)} |']
    rows.append('|---' * (len(titles) + 1) + '|')
    for share in next(iter(results.values())):
        cells = [
            ' / '.join(f'{value:.4g}' for value in run[share].values())
            for run in results.values()
        ]
        rows.append(f'| {share} | {" | ".join(cells)} |')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.mix_statistics', description=__doc__
    )
    parser.add_argument(
        '--work-dirs', type=Path, default=ROOT / 'work_dirs/mini'
    )
    parser.add_argument(
        '--noise', type=float, default=40, help='of the 256 levels'
    )
    args = parser.parse_args()
    results = {}
    for name in NAMES:
        for noise, suffix in ((0, ''), (args.noise, ', noise')):
            seen = measure(name, args.work_dirs, noise)
            results[f'{name}{suffix}'] = seen
            print(f'{name}{suffix}: {seen}', flush=True)
    path = RESULTS / 'mixed.json'
    path.write_text(json.dumps(results, indent=2) + '\n')
    print(table(results))


if __name__ == '__main__':
    main()
