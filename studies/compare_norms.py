# Copyright (c) mmnorm contributors. All rights reserved.
"""Train every config of configs/mini and write the table of its README.

A run that is complete in the work dirs is not repeated. The scalars of each
run go to studies/results/norms.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from .page import replace_marked
from .records import scalars

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs/mini'
RESULTS = ROOT / 'studies/results/norms'
COLUMNS = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'mIoU': 'mIoU',
    'aAcc': 'pixels right',
}
SHOWN = 'deeplabv3_r18-d8_bcn-all_1xb1-2k_mini-cityscapes'


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


def chance() -> float:
    """Return the mIoU, in percent, of the commonest class everywhere."""
    root = ROOT / 'data/mini_cityscapes/gtFine/val'
    counts = np.zeros(256, int)
    for path in root.rglob('*_labelTrainIds.png'):
        counts += np.bincount(np.asarray(Image.open(path)).ravel(), None, 256)
    counts = counts[:255]
    return 100 * counts.max() / counts.sum() / (counts > 0).sum()


def draw(work_dir: Path) -> None:
    """Draw images of the last evaluation of a run side by side."""
    newest = max(work_dir.glob('*/vis_data/vis_image'))
    files = sorted(newest.glob('*.png'), key=lambda p: int(p.stem[-4:]))[-4:]
    rows = [
        np.hstack([np.asarray(Image.open(file)) for file in pair])
        for pair in (files[:2], files[2:])
    ]
    Image.fromarray(np.vstack(rows)).save(RESULTS / 'segments.png')


def table(runs: dict[str, list[dict]]) -> str:
    """Return a table of the results and losses of each config."""
    last = {name: records[-1] for name, records in runs.items()}
    shown = [
        k for k in COLUMNS if any(k in record for record in last.values())
    ]
    titles = ['config', 'losses', *(COLUMNS[key] for key in shown)]
    rows = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for name, records in runs.items():
        losses = [r['loss'] for r in records if 'loss' in r]
        bad = sum(not math.isfinite(loss) for loss in losses)
        cells = [f'[{name}]({name}.py)']
        if bad:
            cells.append(f'{bad} of {len(losses)} not finite')
        else:
            cells.append(f'{losses[0]:.2f} to {losses[-1]:.2f}')
        cells += [f'{last[name][key]:.4g}' for key in shown]
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.compare_norms', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/norms',
        help='folder of the runs, with a folder for each config',
    )
    work_dirs = parser.parse_args().work_dirs
    RESULTS.mkdir(parents=True, exist_ok=True)
    parts = []
    for kind in ('mask-rcnn', 'deeplabv3'):
        runs = {}
        for config in sorted(CONFIGS.glob(f'{kind}_*.py')):
            runs[config.stem] = train(config, work_dirs / config.stem)
            lines = ''.join(f'{json.dumps(r)}\n' for r in runs[config.stem])
            (RESULTS / f'{config.stem}.json').write_text(lines)
        parts.append(table(runs))
    draw(work_dirs / SHOWN)
    parts.append(f'One class everywhere would be {chance():.1f} mIoU.')
    page = CONFIGS / 'README.md'
    text = '\n\n'.join(parts)
    page.write_text(replace_marked(page.read_text(), 'norms', text))
    print(text)


if __name__ == '__main__':
    main()
