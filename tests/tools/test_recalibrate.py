# Copyright (c) mmnorm contributors. All rights reserved.
"""The running statistics of a checkpoint, computed again by a command."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG, ROOT
from tests.ports import free_port

TOOL = 'recalibrate.py'
Weights = dict[str, torch.Tensor]
MOMENTS = ('running_mean', 'running_var')


def load(path: Path) -> Weights:
    return torch.load(path, weights_only=True)['state_dict']


def write(path: Path, seed: int) -> Path:
    """Write a checkpoint of fixed weights and random running statistics."""
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
def work(options, tmp_path) -> list[object]:
    """Return options for small data and a folder for the results."""
    # A config that a resumed training has written says so.
    return ['--work-dir', tmp_path / 'work', *options, 'resume=True']


def test_old_statistics_do_not_matter(succeeds, checkpoints, work, tmp_path):
    outs = [tmp_path / f'{i}.pth' for i in range(2)]
    for path, out in zip(checkpoints, outs, strict=True):
        text = succeeds(TOOL, CONFIG, path, out, '--num-batches=3', *work)
        assert 'new statistics in 36 norms; ' in text
        assert 'standard deviations, standard deviation by a factor' in text
        assert f'wrote {out}' in text
    first, second = map(load, outs)
    before = load(checkpoints[0])
    assert first.keys() == second.keys() == before.keys()
    for key, value in first.items():
        assert value.equal(second[key]), key
        assert value.equal(before[key]) != key.endswith(MOMENTS), key
    assert torch.load(outs[0], weights_only=True)['meta']['epoch'] == 1
    assert 'coco/segm_mAP' in succeeds('test.py', CONFIG, outs[0], *work)
    assert sorted(tmp_path.glob('*.part')) == []


def test_two_processes_equal_one(succeeds, checkpoints, work, tmp_path):
    one, two = tmp_path / 'one.pth', tmp_path / 'two.pth'
    arguments = [CONFIG, checkpoints[0]]
    pairs = 'train_dataloader.batch_size=2'
    succeeds(TOOL, *arguments, one, '--num-batches=3', *work, pairs)
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2'),
        *(f'--master-port={free_port()}', ROOT / 'tools' / TOOL),
        *(*arguments, two, '--num-batches=3', '--launcher=pytorch', *work),
    ]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
    one, two = load(one), load(two)
    # Each process samples other proposals for its heads.
    keys = [key for key in one if key.startswith(('backbone', 'neck'))]
    for key in keys:
        torch.testing.assert_close(
            two[key], one[key], rtol=1e-4, atol=1e-4, msg=key
        )


def test_mistakes(fails, checkpoints, work, tmp_path):
    path, out = checkpoints[0], tmp_path / 'out.pth'
    for arguments, why in (
        ((path, out, '--num-batches=0'), '--num-batches is 0: give 1 or more'),
        ((path, path), f'{str(path)!r} is there already: name another'),
        ((path, tmp_path / 'none/out.pth'), 'a folder that does not exist'),
        ((tmp_path / 'none.pth', out), "none.pth' does not exist or is not"),
    ):
        assert why in fails(TOOL, CONFIG, *arguments, *work)
    assert not out.exists()


def test_config_without_running_statistics(fails, checkpoints, work, tmp_path):
    config = (
        ROOT / 'configs/mini/mask-rcnn_r18_fpn_gn-all_1xb1-3e_mini-coco.py'
    )
    out = tmp_path / 'out.pth'
    arguments = (config, checkpoints[0], out, '--num-batches=1')
    sentence = fails(TOOL, *arguments, *work)
    assert 'no norm whose running statistics it trains' in sentence
    assert not out.exists()


def test_missing_data(fails, checkpoints, work, tmp_path):
    setting = 'train_dataloader.dataset.ann_file=none.json'
    arguments = (CONFIG, checkpoints[0], tmp_path / 'out.pth')
    sentence = fails(TOOL, *arguments, *work, setting)
    assert sentence.startswith('train_dataloader.dataset.ann_file: ')


def test_random_sizes_of_yolox(succeeds, work, checkpoints, tmp_path):
    config = tmp_path / 'sizes.py'
    config.write_text(f"""_base_ = {str(CONFIG)!r}
model = dict(data_preprocessor=dict(batch_augments=[dict(
    type='BatchSyncRandomResize', random_size_range=(96, 128), interval=1,
)]))
""")
    out = tmp_path / 'out.pth'
    succeeds(TOOL, config, checkpoints[0], out, '--num-batches=2', *work)
    assert out.is_file()
