# Copyright (c) mmnorm contributors. All rights reserved.
"""Fine-tune BCN from a BN checkpoint and from random weights.

Both initializations get the same short training with the same seeds. A run
that is complete in the work dirs is not repeated. The scalars of each run go
to studies/results/initializations, and the table goes to docs/checkpoints.md.
"""

import argparse
import json
import statistics
from pathlib import Path

from mmengine.config import Config

from mmnorm.engine.runner.launch import fail

from .page import replace_marked
from .train_mini import train

ROOT = Path(__file__).parents[1]
BN, BCN = (
    ROOT / f'configs/mini/mask-rcnn_r18_fpn_{norm}-all_1xb1-3e_mini-coco.py'
    for norm in ('bn', 'bcn')
)
PAGE = ROOT / 'docs/checkpoints.md'
RESULTS = ROOT / 'studies/results/initializations'
STEPS = 200
SEEDS = (0, 1, 2)
INITIALIZATIONS = {'bn': 'BN checkpoint', 'random': 'random weights'}
COLUMNS = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
}


def last_checkpoint(work_dir: Path) -> Path:
    """Return the checkpoint that a run ended with."""
    note = work_dir / 'last_checkpoint'
    if not note.is_file():
        fail(
            f'{str(work_dir)!r} holds a finished log and no last_checkpoint: '
            'remove the folder to train again, or name another with '
            '--work-dirs'
        )
    # The path is from the time of the run, and the folder may have moved.
    return note.with_name(Path(note.read_text()).name)


def fine_tune(seed: int, checkpoint: Path | None) -> Config:
    """Return the mini config of BCN, shortened, with an initialization.

    Without a checkpoint the weights are random.
    """
    cfg = Config.fromfile(BCN)
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=STEPS, val_interval=STEPS
    )
    # The learning rate rises in the first tenth and falls to zero at the end.
    warm_up, decay = cfg.param_scheduler
    warm_up.end = decay.begin = STEPS // 10
    decay.end = STEPS
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=STEPS)
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.log_metric_by_epoch = False
    cfg.randomness.seed = seed
    cfg.load_from = None if checkpoint is None else str(checkpoint)
    return cfg


def mean_and_range(values: list[float], digits: int) -> str:
    """Format the mean of values, with the least and the largest."""
    mean, *ends = (
        f'{value:.{digits}f}'
        for value in (statistics.mean(values), min(values), max(values))
    )
    return f'{mean} ({" to ".join(ends)})'


def table(runs: dict[str, list[list[dict]]]) -> str:
    """Return a table of the results and losses of each initialization."""
    steps = [r['step'] for r in runs['bn'][0] if 'loss' in r]
    titles = ['start', *COLUMNS.values()]
    titles.append(f'loss, steps 1 to {steps[0]}')
    titles.append(f'steps {steps[-2] + 1} to {steps[-1]}')
    rows = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for name, seeds in runs.items():
        ends = [records[-1] for records in seeds]
        losses = [[r['loss'] for r in run if 'loss' in r] for run in seeds]
        cells = [INITIALIZATIONS[name]]
        cells += [mean_and_range([e[key] for e in ends], 3) for key in COLUMNS]
        cells += [mean_and_range([ls[i] for ls in losses], 2) for i in (0, -1)]
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def checkpoint_results(records: list[dict]) -> str:
    """Return a sentence with the results of the BN checkpoint itself."""
    said = ', '.join(f'{t} {records[-1][k]:.3f}' for k, t in COLUMNS.items())
    return f'The BN model of that checkpoint: {said}.'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.compare_initializations', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/mini',
        help='folder of the runs, also those of studies/train_mini.py',
    )
    work_dirs = parser.parse_args().work_dirs
    bn = train(BN, work_dirs / BN.stem)
    checkpoint = last_checkpoint(work_dirs / BN.stem)
    kept = {BN.stem: bn}
    runs = {initialization: [] for initialization in INITIALIZATIONS}
    folder = work_dirs / 'initializations'
    folder.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for initialization in INITIALIZATIONS:
            name = f'{initialization}_seed-{seed}'
            config = folder / f'{name}.py'
            loaded = checkpoint if initialization == 'bn' else None
            fine_tune(seed, loaded).dump(config)
            kept[name] = train(config, folder / name)
            runs[initialization].append(kept[name])

    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, records in kept.items():
        lines = ''.join(f'{json.dumps(record)}\n' for record in records)
        (RESULTS / f'{name}.json').write_text(lines)
    text = f'{table(runs)}\n\n{checkpoint_results(bn)}'
    PAGE.write_text(replace_marked(PAGE.read_text(), 'starts', text))
    print(text)


if __name__ == '__main__':
    main()
