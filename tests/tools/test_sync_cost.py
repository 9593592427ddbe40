# Copyright (c) mmnorm contributors. All rights reserved.
"""The table of all-reduces follows from the layers of a model."""

import runpy
import sys

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmnorm import BCN
from tests.paths import CONFIG, ROOT

FILE = ROOT / 'tools/analysis_tools/sync_cost.py'


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments: object):
        monkeypatch.setattr(sys, 'argv', [str(FILE), *map(str, arguments)])
        runpy.run_path(str(FILE), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run


def test_table(command):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(CONFIG).model)
    channels = [
        m.bn.num_features for m in model.modules() if isinstance(m, BCN)
    ]
    payload = {size: 8 * (2 * size + 2) for size in channels}
    total = sum(payload[size] for size in channels)
    layers = len(channels)
    lines = command(CONFIG)
    assert [line for line in lines if line[:3].strip('| ').isdigit()] == [
        f'| {size} | {channels.count(size)} | {payload[size]} |'
        for size in sorted(payload)
    ]
    assert lines[-3:] == [
        f'| SyncBN, SN, BCN | {layers} | {layers} | 0 | {2 * total} |',
        f"| BCN, `estimate_grad='image'` or None | {layers} | 0 | 0 "
        f'| {total} |',
        f"| BCN, `sync='step'` | 0 | 0 | 1 | {total} |",
    ]


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        ('none.py', "config 'none.py' does not exist or is not a file"),
        (str(CONFIG).replace('_bcn-', '_gn-'), 'trains no BCN, SN or mmnorm'),
    ],
)
def test_bad_config(command, capsys, config, sentence):
    with pytest.raises(SystemExit, match='1'):
        command(config)
    assert sentence in capsys.readouterr().err
