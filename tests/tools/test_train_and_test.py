# Copyright (c) mmnorm contributors. All rights reserved.
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import mmnorm  # noqa: F401  names what a checkpoint may hold
from mmnorm.config.errors import ConfigError
from mmnorm.engine.runner import launch
from tests.paths import CONFIG


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('work_dir')


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def coco_scores(text: str) -> dict[str, float]:
    """Return the scores of COCO in a line of JSON."""
    entries = json.loads(text).items()
    return {key: value for key, value in entries if key.startswith('coco/')}


@pytest.fixture
def predict(tool, options, tmp_path):
    """Test a checkpoint; return COCO's scores, and the scores of boxes."""

    def run(checkpoint: Path) -> tuple[dict[str, float], list[torch.Tensor]]:
        folder = tmp_path / checkpoint.stem
        out = folder / 'predictions.pkl'
        arguments = (checkpoint, '--work-dir', folder, '--out', out)
        result = tool('test.py', CONFIG, *arguments, *options)
        assert result.returncode == 0, result.stderr
        coco = coco_scores(next(folder.glob('*/*.json')).read_text())
        images = pickle.loads(out.read_bytes())
        return coco, [image['pred_instances']['scores'] for image in images]

    return run


def test_train_test_and_resume(tool, options, work_dir, predict):
    whole = work_dir / 'whole'
    result = tool('train.py', CONFIG, '--work-dir', whole, *options)
    assert result.returncode == 0, result.stderr
    log = next(whole.glob('*/vis_data/scalars.json')).read_text()
    validation = coco_scores(log.splitlines()[-1])

    # The validation and the test have the same four images.
    checkpoint = whole / 'epoch_2.pth'
    coco, scores = predict(checkpoint)
    assert coco.keys() >= {'coco/bbox_mAP', 'coco/segm_mAP'}
    assert coco == pytest.approx(validation)
    assert all(len(image) > 0 for image in scores)
    assert len(scores) == 4
    _, before = predict(whole / 'epoch_1.pth')
    assert not torch.equal(torch.cat(before), torch.cat(scores))

    # A training that resumes after the first epoch ends with equal weights.
    resumed = work_dir / 'resumed'
    resumed.mkdir()
    shutil.copy(whole / 'epoch_1.pth', resumed)
    (resumed / 'last_checkpoint').write_text(str(resumed / 'epoch_1.pth'))
    result = tool(
        'train.py', CONFIG, '--resume', '--work-dir', resumed, *options
    )
    assert result.returncode == 0, result.stderr
    assert 'resumed epoch: 1' in result.stdout
    expected, actual = weights(checkpoint), weights(resumed / 'epoch_2.pth')
    assert expected.keys() == actual.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


def test_resume_before_the_first_checkpoint(
    command, monkeypatch, options, tmp_path
):
    # A job that always says --resume starts from the weights of its config.
    cfgs = []

    def build(cfg: Config) -> None:
        cfgs.append(cfg)
        raise ConfigError('enough')

    monkeypatch.setattr(launch, 'build_runner', build)
    start = tmp_path / 'start.pth'
    torch.save({'state_dict': {'weight': torch.ones(1)}}, start)
    run = ('train.py', CONFIG, '--resume', '--work-dir', tmp_path / 'work')
    ended = command(*run, *options, f'load_from={start}')
    assert ended.err == 'train.py: error: enough\n'
    (cfg,) = cfgs
    assert (cfg.resume, cfg.load_from) == (False, str(start))
