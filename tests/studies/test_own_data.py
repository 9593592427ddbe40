# Copyright (c) mmnorm contributors. All rights reserved.
"""The configs in studies/own_data describe the runs in the logs there."""

import json

import mmengine.optim  # noqa: F401  registers the schedulers
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from tests.paths import ROOT

FOLDER = ROOT / 'studies/own_data'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))


@pytest.mark.parametrize('name', NAMES)
def test_paths_are_those_of_the_data_set(name):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    data_root = f'data/{name.removesuffix("_r18")}/'
    for mode in ('train', 'val', 'test'):
        dataset = cfg[f'{mode}_dataloader'].dataset
        assert dataset.data_root == data_root
        for path in dataset.data_prefix.values():
            assert path.startswith(('images', 'annotations'))
        ann_file = cfg.get(f'{mode}_evaluator', {}).get('ann_file', data_root)
        assert ann_file.startswith(data_root)


@pytest.mark.parametrize('name', NAMES)
def test_learning_rate_is_that_of_the_log(name):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    assert cfg.train_dataloader.batch_size == 1
    log = (FOLDER / f'{name}.json').read_text()
    record = json.loads(log.splitlines()[0])
    rate = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=rate)
    schedule = cfg.param_scheduler[0] | dict(optimizer=optimizer)
    scheduler = PARAM_SCHEDULERS.build(schedule)
    optimizer.step()
    for _ in range(record['step'] - 1):
        scheduler.step()
    (rate,) = scheduler.get_last_value()
    assert rate == pytest.approx(record['base_lr'])
