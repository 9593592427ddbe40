# Copyright (c) mmnorm contributors. All rights reserved.
"""Draw facades that Mask R-CNN with BCN has segmented.

The model is that of ``python -m studies.run facades --keep``.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from mmnorm.engine.runner.launch import fail
from tools.dev.demo import draw_pictures

from .plan import PLANS, ROOT, read_plan

OUT = ROOT / 'studies/results/demo/facades.jpg'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.draw_facades', description=__doc__
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=ROOT / 'work_dirs/studies',
        help='folder of the trainings',
    )
    cell = read_plan(PLANS / 'facades.yml').cells[0]
    work_dir = parser.parse_args().work_dirs / cell.name
    checkpoint = find_latest_checkpoint(str(work_dir))
    if checkpoint is None or not Path(checkpoint).is_file():
        fail(
            f'{str(work_dir)!r} holds no weights: run python -m studies.run '
            'facades --keep'
        )
    cfg = Config.fromfile(work_dir / 'cell.py')
    draw_pictures(cfg, checkpoint, OUT, labeled=False)
    print(f'wrote {OUT.relative_to(ROOT)}')


if __name__ == '__main__':
    main()
