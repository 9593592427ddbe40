# Copyright (c) mmnorm contributors. All rights reserved.
import json
import shutil

import pytest
import torch

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('work_dir')


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def test_train_test_and_resume(tool, options, work_dir):
    whole = work_dir / 'whole'
    result = tool('train.py', CONFIG, '--work-dir', whole, *options)
    assert result.returncode == 0, result.stderr
    assert 'coco/segm_mAP_50' in result.stdout

    checkpoint = whole / 'epoch_2.pth'
    tested = work_dir / 'tested'
    result = tool(
        'test.py',
        CONFIG,
        checkpoint,
        '--work-dir',
        tested,
        '--out',
        work_dir / 'predictions.pkl',
        *options,
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads(next(tested.glob('*/*.json')).read_text())
    assert 0 <= scores['coco/segm_mAP'] <= 1
    assert (work_dir / 'predictions.pkl').stat().st_size > 0

    # Going on after the first of two epochs ends with the same weights.
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


def test_two_processes_train_and_test(tool, options, work_dir):
    both = work_dir / 'both'
    result = tool('dist_train.sh', CONFIG, 2, '--work-dir', both, *options)
    assert result.returncode == 0, result.stderr
    assert 'Epoch(train) [2][4/4]' in result.stdout.replace('[2]  [', '[2][')
    checkpoint = both / 'epoch_2.pth'
    result = tool(
        'dist_test.sh', CONFIG, checkpoint, 2, '--work-dir', both, *options
    )
    assert result.returncode == 0, result.stderr
    assert 'coco/segm_mAP_50' in result.stdout
