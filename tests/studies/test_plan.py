# Copyright (c) mmnorm contributors. All rights reserved.
"""A plan lists its trainings, and a training has the norm of its cell."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmnorm.config.errors import ConfigError
from studies.cell import config_of
from studies.plan import PLANS, read_plan
from studies.results_file import append_rows, read_rows

MINI = 'configs/mini/mask-rcnn_r18_fpn_gn-all_1xb1-3e_mini-coco.py'
TEXT = f"""
tasks:
  toy:
    network: net
    data: mini COCO
    config: {MINI}
    images: 1200
    num_groups: 8
    metrics: {{box AP: coco/bbox_mAP}}
norms:
  GN4: {{norm_cfg: {{type: GN, num_groups: 4}}}}
  SSN:
    norm_cfg: {{type: mmnorm.SSN}}
    options: {{custom_hooks: [{{type: mmnorm.SparseSwitchHook}}]}}
settings:
  r=0.5:
    norm_cfg: {{momentum: 0.5}}
    options: {{optim_wrapper.clip_grad.max_norm: 1}}
cells:
  - {{tasks: [toy], norms: [GN4], images_per_step: [1, 4], seeds: 2}}
  - tasks: [toy]
    norms: [BCN+WS]
    settings: [r=0.5]
    images_per_step: [4]
    processes: [2]
    lr_factors: [0.5]
    images_factor: 2
"""


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / 'toy.yml'
    path.write_text(TEXT)
    return path


def test_question(path):
    path.write_text(f'about: >\n  Which\n  norm?\n{TEXT}')
    assert read_plan(path).about == 'Which norm?'


def test_cells(path):
    cells = read_plan(path).cells
    # The columns are norm, setting, images, processes, seed, lr and steps.
    assert [cell[2:] for cell in cells] == [
        ('GN4', 'default', 1, 1, 0, '0.001', 1200),
        ('GN4', 'default', 4, 1, 0, '0.004', 300),
        ('BCN+WS', 'r=0.5', 4, 2, 0, '0.002', 600),
        ('GN4', 'default', 1, 1, 1, '0.001', 1200),
        ('GN4', 'default', 4, 1, 1, '0.004', 300),
    ]
    assert {cell[:2] for cell in cells} == {('net', 'mini COCO')}
    assert len({cell.name for cell in cells}) == 5
    # A longer training of the same cell has a folder of its own.
    assert cells[0].name != cells[0]._replace(steps=600).name


@pytest.mark.parametrize(
    ('old', 'new', 'sentence'),
    [
        ('[GN4]', '[GN5]', "'GN5', which is not one of the norms: BN, GN"),
        ('seeds: 2', 'seed: 2', "has the key 'seed' in cells: use one of"),
        ('norm_cfg', 'cfg', "has the key 'cfg' in norms: use one of"),
        ('cells:', 'grids:', 'is no plan: give it the key cells'),
        ('[4]', '[3]', '3 images per step on 2 processes: give a multiple'),
        ('tasks:\n', '- tasks:\n', 'is no readable plan'),
    ],
)
def test_mistakes(path, old, new, sentence):
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        read_plan(path)


def test_missing_plan(tmp_path):
    with pytest.raises(ConfigError, match='is no readable plan'):
        read_plan(tmp_path / 'none.yml')


def norms_in(node: object) -> list[dict]:
    if isinstance(node, dict):
        own = [node] if node.get('norm_cfg') else []
        return own + [n for v in node.values() for n in norms_in(v)]
    if isinstance(node, (list, tuple)):
        return [n for member in node for n in norms_in(member)]
    return []


def test_config(path, tmp_path):
    plan = read_plan(path)
    written = tmp_path / 'written.py'
    config_of(plan.cells[2], plan).dump(written)
    cfg = Config.fromfile(written)
    parts = norms_in(cfg.model)
    assert len(parts) == 4  # backbone, neck and two heads
    for part in parts:
        assert part.norm_cfg == dict(
            type='mmnorm.BCN', num_groups=8, momentum=0.5
        )
        assert part.conv_cfg == dict(type='mmnorm.ConvWS')
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.optim_wrapper.optimizer.lr == 0.002
    assert cfg.optim_wrapper.clip_grad.max_norm == 1
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == 600
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.end, decay.begin, decay.end) == (50, 50, 600)
    assert cfg.randomness == dict(seed=0)


def test_a_norm_brings_what_it_needs(path):
    path.write_text(TEXT.replace('norms: [BCN+WS]', 'norms: [SSN]'))
    plan = read_plan(path)
    (cell,) = (c for c in plan.cells if c.norm == 'SSN')
    cfg = config_of(cell, plan)
    assert cfg.custom_hooks == [dict(type='mmnorm.SparseSwitchHook')]
    assert cfg.optim_wrapper.clip_grad.max_norm == 1  # of the setting


def test_words_follow_the_images(path):
    norms = 'norms: [BCN]\n    settings: [batch N/(N+1)]'
    path.write_text(
        TEXT.replace('norms: [BCN+WS]\n    settings: [r=0.5]', norms)
    )
    plan = read_plan(path)
    (cell,) = (c for c in plan.cells if c.norm == 'BCN')
    assert config_of(cell, plan).model.backbone.norm_cfg == dict(
        type='mmnorm.BCN',
        num_groups=8,
        estimate_grad='batch',
        grad_share=0.8,
    )


def test_norm_of_the_base_does_not_stay(path):
    plan = read_plan(path)
    for part in norms_in(config_of(plan.cells[0], plan).model):
        assert part.norm_cfg == dict(type='GN', num_groups=4)
        assert part.get('conv_cfg') is None


@pytest.mark.parametrize('plan', sorted(PLANS.glob('*.yml')), ids=str)
def test_plans_of_the_repository(plan):
    plan = read_plan(plan)
    names = [cell.name for cell in plan.cells]
    assert len(set(names)) == len(names) > 0
    by_norm = {(cell.norm, cell.setting): cell for cell in plan.cells}
    by_task = {(cell.network, cell.data): cell for cell in plan.cells}
    for cell in {*by_norm.values(), *by_task.values()}:
        assert config_of(cell, plan).model


def test_unfinished_line_is_no_row(path, tmp_path):
    first, second = read_plan(path).cells[:2]
    results = tmp_path / 'results/toy.csv'

    def row(cell, value) -> dict:
        measured = {'metric': 'box AP', 'value': value, 'seconds': 1}
        return {'study': 'toy', **cell._asdict(), **measured}

    append_rows(results, [row(first, 0.5)])
    whole = results.read_text()
    results.write_text(whole + 'toy,net,mini CO')
    assert list(read_rows(results.parent)) == [(first, 'box AP')]
    append_rows(results, [row(second, 0.25)])
    values = {
        key[0]: r['value'] for key, r in read_rows(results.parent).items()
    }
    assert values == {first: 0.5, second: 0.25}
    assert results.read_text().startswith(whole)
