# Copyright (c) mmnorm contributors. All rights reserved.
"""Work dirs of trainings, with records that a test has made up."""

import json
from pathlib import Path

LAYERS = (
    'backbone.{}1',
    'backbone.layer1.0.{}1',
    'backbone.layer4.0.{}1',
    'backbone.layer4.0.{}2',
    'neck.convs.0.{}',
    'roi_head.mask_head.convs.0.{}',
)
STEPS = range(4, 124, 20)
SN = ('mean_in', 'mean_ln', 'mean_bn', 'var_in', 'var_ln', 'var_bn')


def record(step: int, norm: str = 'bn', **numbers: float) -> dict:
    """Return a record in which every layer has the same numbers."""
    scalars = {
        f'norm/{layer.format(norm)}/{key}': value
        for layer in LAYERS
        for key, value in numbers.items()
    }
    return {**scalars, 'step': step}


def write_run(
    work_dir: Path, records: list[dict], time: str = '20260101_000000'
) -> Path:
    """Write a run folder, and return its file of scalars."""
    folder = work_dir / time / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text('model = None\n')
    file = folder / 'scalars.json'
    # mmengine logs other scalars between the records.
    loss = json.dumps({'loss': 1.0, 'lr': 0.1, 'step': 50})
    lines = [json.dumps(each) for each in records] + [loss]
    file.write_text('\n'.join(lines) + '\n')
    return file


def write_training(work_dir: Path, norm: str = 'bn', **more: float) -> Path:
    """Write a training whose dead channels grow, and return its work dir."""
    numbers = {'bn_mean': 0.5, 'bn_std': 0.25, **more}
    records = [
        record(step, norm, dead=step / 1000, **numbers) for step in STEPS
    ]
    write_run(work_dir, records)
    return work_dir
