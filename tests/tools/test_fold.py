# Copyright (c) mmnorm contributors. All rights reserved.
"""tools/test.py gives the same results with --fold as without."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from tests.models import make_model, randomize
from tests.paths import CONFIG, ROOT
from tests.ports import free_port

from .test_mmseg import config as segmenter  # noqa: F401  a fixture

# train.py adds the second hook on a GPU.
HOOKS = """custom_hooks = [
    dict(type='EMAHook'), dict(type='mmnorm.FuseNormActHook')
]"""


@pytest.fixture
def run(succeeds, tmp_path) -> Callable[..., dict]:
    """Run tools/test.py; return its log on folds, scores and predictions."""

    def run(*args: object) -> dict:
        work_dir = tmp_path / f'run{len(list(tmp_path.glob("run*")))}'
        results = ('--out', work_dir.with_suffix('.pkl'))
        succeeds('test.py', *args, '--work-dir', work_dir, *results)
        DefaultScope._instance_dict.clear()
        with work_dir.with_suffix('.pkl').open('rb') as file:
            predictions = pickle.load(file)
        scores = json.loads(next(work_dir.glob('*/*.json')).read_text())
        scores = {k: v for k, v in scores.items() if 'time' not in k}
        log = next(work_dir.glob('*/*.log')).read_text()
        folds = [line for line in log.splitlines() if ' folded ' in line]
        return dict(folds=folds, scores=scores, predictions=predictions)

    return run


def save(model: torch.nn.Module, folder: Path) -> Path:
    path = folder / 'checkpoint.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def test_detector(run, options, tmp_path, monkeypatch):
    name = str(CONFIG.relative_to(ROOT / 'configs').with_suffix(''))
    checkpoint = save(make_model(name).float(), tmp_path)
    # A config that a resumed training has written says so.
    plain = run(CONFIG, checkpoint, *options, 'resume=True')
    # With a launcher the model is wrapped.
    for key, value in dict(RANK='0', WORLD_SIZE='1').items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv('MASTER_PORT', free_port())
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    launcher = ('--fold', '--launcher', 'pytorch')
    folded = run(CONFIG, checkpoint, *launcher, *options)
    assert plain['folds'] == []
    assert folded['folds'][0].endswith('folded 72, kept 0')
    pairs = zip(plain['predictions'], folded['predictions'], strict=True)
    for before, after in pairs:
        before, after = before['pred_instances'], after['pred_instances']
        assert len(before['scores']) == 30
        for key in ('scores', 'bboxes'):
            np.testing.assert_allclose(
                after[key], before[key], rtol=1e-3, atol=1e-3
            )


def test_segmenter(run, segmenter, tmp_path):  # noqa: F811
    """Test two versions of each image, with a hook that swaps weights."""
    text = segmenter.read_text()
    segmenter.write_text(f'{text}\n{HOOKS}\n')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(Config.fromfile(segmenter).model)
    checkpoint = save(randomize(model), tmp_path)
    plain = run(segmenter, checkpoint, '--tta')
    folded = run(segmenter, checkpoint, '--tta', '--fold', '--channels-last')
    assert folded['folds'][0].endswith('folded 24, kept 0')
    assert folded['scores'] == pytest.approx(plain['scores'], abs=0.1)
    assert plain['scores']['mIoU'] > 1
