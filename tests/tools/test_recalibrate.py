# Copyright (c) mmnorm contributors. All rights reserved.
"""The statistics of a checkpoint, taken anew by a command."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG, ROOT
from tests.ports import free_port

Weights = dict[str, torch.Tensor]
MOMENTS = ('running_mean', 'running_var')


def load(path: Path) -> Weights:
    return torch.load(path, weights_only=True)['state_dict']


def write(path: Path, seed: int) -> Path:
    """A checkpoint of always the same weights, with statistics of chance."""
    cfg = Config.fromfile(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    generator = torch.Generator().manual_seed(seed)
    for key, buffer in model.named_buffers():
        if key.endswith('running_mean'):
            buffer.normal_(generator=generator)
        if key.endswith('running_var'):
            buffer.uniform_(0.1, 4, generator=generator)
    meta = dict(epoch=1, dataset_meta=dict(classes=('0', '1')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp('checkpoints')
    return [write(folder / f'{seed}.pth', seed) for seed in range(2)]


@pytest.fixture
def options(options: list[str]) -> list[str]:
    return list(options)


@pytest.fixture
def call(options, tmp_path, monkeypatch) -> Callable[..., None]:
    """Run a tool here, on the small data."""

    def run(name: str, *args: object) -> None:
        work = ('--work-dir', tmp_path / 'work')
        argv = [name, *map(str, (*args, *work)), *options]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(ROOT)
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')

    return run


def test_scrambled_checkpoints_end_the_same(
    call, checkpoints, tmp_path, capsys
):
    outs = [tmp_path / f'{i}.pth' for i in range(2)]
    for path, out in zip(checkpoints, outs, strict=True):
        call('recalibrate.py', CONFIG, path, out, '--num-batches=3')
        said = capsys.readouterr().out
        assert 'new statistics in 36 norms; those that moved' in said
        assert 'standard deviations, these by a factor of' in said
        assert f'wrote {out}' in said
    first, second = map(load, outs)
    before = load(checkpoints[0])
    assert first.keys() == second.keys() == before.keys()
    for key, value in first.items():
        assert value.equal(second[key]), key
        assert value.equal(before[key]) != key.endswith(MOMENTS), key
    assert torch.load(outs[0], weights_only=True)['meta']['epoch'] == 1
    call('test.py', CONFIG, outs[0])
    assert 'coco/segm_mAP' in capsys.readouterr().out
    assert sorted(tmp_path.glob('*.part')) == []


def test_two_processes_equal_one(call, checkpoints, options, tmp_path):
    one, two = tmp_path / 'one.pth', tmp_path / 'two.pth'
    arguments = [CONFIG, checkpoints[0]]
    pairs = ('--cfg-options', 'train_dataloader.batch_size=2')
    call('recalibrate.py', *arguments, one, '--num-batches=3', *pairs)
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2'),
        *(f'--master-port={free_port()}', ROOT / 'tools/recalibrate.py'),
        *arguments,
        *(two, '--num-batches=3', '--launcher=pytorch'),
        *('--work-dir', tmp_path, *options),
    ]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
    one, two = load(one), load(two)
    # Each process samples proposals for its heads with its own chance.
    keys = [key for key in one if key.startswith(('backbone', 'neck'))]
    for key in keys:
        torch.testing.assert_close(
            two[key], one[key], rtol=1e-4, atol=1e-4, msg=key
        )


@pytest.fixture
def complaint(call, capsys) -> Callable[..., str]:
    def run(*args: object) -> str:
        with pytest.raises(SystemExit) as exit_info:
            call('recalibrate.py', *args)
        assert exit_info.value.code == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith('recalibrate.py: error: ')
        return last

    return run


def test_mistakes(complaint, checkpoints, tmp_path):
    path, out = checkpoints[0], tmp_path / 'out.pth'
    said = complaint(CONFIG, path, out, '--num-batches=0')
    assert '--num-batches is 0: give 1 or more' in said
    said = complaint(CONFIG, path, path)
    assert f'{str(path)!r} is there already: name another' in said
    said = complaint(CONFIG, path, tmp_path / 'none' / 'out.pth')
    assert 'in a folder that does not exist' in said
    said = complaint(CONFIG, tmp_path / 'none.pth', out)
    assert "none.pth' does not exist or is not a file" in said
    assert not out.exists()


def test_config_without_training_data(
    complaint, checkpoints, tmp_path, options
):
    options.clear()
    config = tmp_path / 'config.py'
    config.write_text('model = None\n')
    said = complaint(config, checkpoints[0], tmp_path / 'out.pth')
    assert 'no train_dataloader to take batches from' in said


def test_config_without_running_statistics(complaint, tmp_path, checkpoints):
    config = (
        ROOT / 'configs/mini/mask-rcnn_r18_fpn_gn-all_1xb1-3e_mini-coco.py'
    )
    out = tmp_path / 'out.pth'
    said = complaint(config, checkpoints[0], out, '--num-batches=1')
    assert 'no norm whose running statistics it trains' in said
    assert not out.exists()


def test_data_that_is_not_there(complaint, checkpoints, tmp_path):
    said = complaint(
        CONFIG,
        checkpoints[0],
        tmp_path / 'out.pth',
        '--cfg-options',
        'train_dataloader.dataset.ann_file=none.json',
    )
    assert 'train_dataloader.dataset.ann_file' in said
