# Copyright (c) mmnorm contributors. All rights reserved.
"""Time what NormStatsHook adds to training steps of Mask R-CNN R50.

A step with the records of all norms and a step without them are interleaved.
The hook looks at 4 of 100 steps by default, and pays at these steps only.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch

from mmnorm.analysis.norm_stats import NormStats
from mmnorm.engine.hooks import NormStatsHook

from .clock import Call, interleave, quartiles, seconds
from .steps import NORMS, mask_rcnn

RESULTS = Path(__file__).with_name('results')


def recorded(norm_cfg: dict, device: str) -> Call:
    """Return a training step with a record of its norms."""
    models: list[torch.nn.Module] = []
    step = mask_rcnn(norm_cfg, device, models.append)

    def record() -> None:
        stats = NormStats(models[0])
        step()
        stats.finish()

    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.norm_stats_cost', description=__doc__
    )
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path, default=RESULTS)
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    hook, results = NormStatsHook(), {}
    for name in ('mmnorm.GN', 'mmnorm.BCN'):
        steps = {
            'plain': mask_rcnn(NORMS[name], device),
            'recorded': recorded(NORMS[name], device),
        }
        times = interleave(
            steps, partial(seconds, device=device), args.repeats
        )
        plain, with_record = (
            quartiles(times[which])[1] for which in ('plain', 'recorded')
        )
        share = hook.num_batches / hook.interval
        results[name] = {
            'device': device,
            'torch': torch.__version__,
            'plain s': times['plain'],
            'recorded s': times['recorded'],
            'at a recorded step': with_record / plain - 1,
            'over all steps': (with_record / plain - 1) * share,
        }
        print(name, results[name], flush=True)
    path = args.out / 'norm_stats_cost.json'
    path.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
