# Copyright (c) mmnorm contributors. All rights reserved.
"""Each mistake gets a sentence and a non-zero exit, before any training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmnorm import BCN
from tests.paths import CONFIG

NORM = 'model.backbone.norm_cfg'
CONV = 'model.backbone.conv_cfg'
RUNS = ('train.py', 'test.py', 'recalibrate.py')
COMMANDS = (*RUNS, 'export.py', 'convert_checkpoint.py')


def write_checkpoint(path: Path) -> None:
    torch.save({'state_dict': {'bn1.running_mean': torch.ones(1000)}}, path)


@pytest.fixture
def arguments(options, tmp_path) -> Callable[..., list[object]]:
    """Return the arguments of a command on a config, with small data."""
    path, out = tmp_path / 'weights.pth', tmp_path / 'out'
    write_checkpoint(path)

    def of(name: str, config: object) -> list[object]:
        run = ['--work-dir', tmp_path / 'work', *options]
        return {
            'train.py': [config, *run],
            'test.py': [config, path, *run],
            'recalibrate.py': [config, path, out, *run],
            'export.py': [config, path, f'{out}.onnx'],
            'convert_checkpoint.py': ['bn', path, out, '--config', config],
        }[name]

    return of


@pytest.fixture
def train(fails, arguments):
    """Train with settings that have to fail, and return the sentence."""

    def run(*settings: str) -> str:
        return fails('train.py', *arguments('train.py', CONFIG), *settings)

    return run


@pytest.mark.parametrize('name', COMMANDS)
@pytest.mark.parametrize(
    ('config', 'why'),
    [
        ('configs/none.py', 'does not exist or is not a file'),
        ('configs', 'does not exist or is not a file'),
        ('README.md', 'cannot be read: Only py/yml/yaml/json type are'),
    ],
    ids=['missing', 'folder', 'text'],
)
def test_not_a_config(fails, arguments, name, config, why):
    sentence = fails(name, *arguments(name, config))
    assert sentence.startswith(f'config {config!r} {why}')


@pytest.mark.parametrize('name', COMMANDS)
@pytest.mark.parametrize(
    ('part', 'why'),
    [
        (
            "backbone=dict(norm_cfg=dict(type='BCM'))",
            "model.backbone.norm_cfg.type='BCM' is not the name of a "
            "registered norm: set it to a name such as 'BCN', ",
        ),
        (
            "neck=dict(conv_cfg=dict(type='ConvWSS'))",
            "model.neck.conv_cfg.type='ConvWSS' is not the name of a "
            "registered convolution: set it to a name such as 'ConvWS', ",
        ),
        (
            'backbone=dict(norm_cfg=dict(momentum=2))',
            'norm_cfg.momentum=2: set it to a number from 0 to 1',
        ),
        ('nekc=dict(norm_cfg=None)', "MaskRCNN does not take 'nekc'"),
        ("neck=dict(type='FNP')", 'FNP is not in the mmdet::model registry'),
    ],
    ids=['norm', 'convolution', 'momentum', 'argument', 'type'],
)
def test_model(fails, arguments, tmp_path, name, part, why):
    config = tmp_path / 'config.py'
    text = f'_base_ = {str(CONFIG)!r}\nmodel = dict({part})\n'
    config.write_text(text)
    assert why in fails(name, *arguments(name, config))


@pytest.mark.parametrize('name', COMMANDS)
def test_defect_keeps_its_traceback(command, arguments, monkeypatch, name):
    def fail(self, *args, **kwargs) -> None:
        raise ValueError('a defect')

    monkeypatch.setattr(BCN, '__init__', fail)
    with pytest.raises(ValueError, match='a defect') as info:
        command(name, *arguments(name, CONFIG))
    assert type(info.value) is ValueError


@pytest.mark.parametrize('name', RUNS)
def test_config_of_a_model_alone(fails, arguments, tmp_path, name):
    config = tmp_path / 'config.py'
    config.write_text("model = dict(type='mmdet.MaskRCNN')\n")
    path, *rest = arguments(name, config)
    rest = rest[: rest.index('--cfg-options')]
    split = 'test' if name == 'test.py' else 'train'
    sentence = fails(name, path, *rest)
    assert sentence == f'the config has no {split}_dataloader'


@pytest.mark.parametrize(
    ('setting', 'why'),
    [
        (f'{NORM}.num_groups=48', 'num_groups=48 does not divide the 64 ch'),
        (f'{NORM}.num_gruops=32', "does not take 'num_gruops'; it takes num_"),
        (f'{NORM}.momentum=abc', "norm_cfg.momentum='abc': set it to a num"),
        (f'{NORM}.eps=-1', 'norm_cfg.eps=-1: set it to a number of 0 or mo'),
        (f'{NORM}.estimate=yes', "norm_cfg.estimate='yes': set it to True o"),
        (f'{CONV}.epsilon=1', "type ConvWS does not take 'epsilon'; it take"),
        ('modle.backbone.depth=50', "no config has 'modle': set 'model', "),
        ('train_cfg.max_epoch=1', "Loop does not take 'max_epoch'"),
        ('optim_wrapper.optimizer.lrr=1', "AdamW does not take 'lrr'"),
        ('train_dataloader.datset.x=1', "DataLoader does not take 'datset'"),
        ('train_dataloader.batch_size.x=1', 'train_dataloader.batch_size is'),
        ('foo', "'foo' is not of the form KEY=VALUE"),
    ],
)
def test_settings(train, setting, why):
    assert why in train(setting)


@pytest.mark.parametrize('mode', ['train', 'val'])
def test_annotations(train, tmp_path, mode):
    path = tmp_path / 'instances.json'
    path.write_text('{"images": [')
    sentence = train(f'{mode}_dataloader.dataset.ann_file={path}')
    start = f'{mode}_dataloader.dataset.ann_file: {str(path)!r} (12 bytes) '
    assert sentence.startswith(start)


def test_work_dir_that_cannot_be_made(fails, options, tmp_path):
    (tmp_path / 'file').write_text('')
    work_dir = tmp_path / 'file' / 'work'
    sentence = fails('train.py', CONFIG, '--work-dir', work_dir, *options)
    assert f'work_dir {str(work_dir)!r} cannot be made' in sentence


def write_half(path: Path) -> None:
    write_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ('write', 'why'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.mkdir(), 'is not a file'),
        (lambda path: path.write_bytes(b''), '(0 bytes) cannot be read'),
        (lambda path: path.write_text('hello'), 'cannot be read'),
        (write_half, 'cannot be read: it is truncated, or not a checkpoint'),
        (lambda path: torch.save([1, 2], path), 'holds a list'),
    ],
    ids=['missing', 'folder', 'empty', 'text', 'truncated', 'list'],
)
def test_checkpoint(fails, options, tmp_path, write, why):
    path = tmp_path / 'epoch_1.pth'
    write(path)
    sentence = fails('test.py', CONFIG, path, *options)
    assert sentence.startswith(f'checkpoint {str(path)!r}')
    assert why in sentence


def test_resume_from_weights(fails, options, tmp_path):
    path = tmp_path / 'weights.pth'
    write_checkpoint(path)
    sentence = fails('train.py', CONFIG, '--resume', path, *options)
    assert f'checkpoint {str(path)!r} holds' in sentence
    assert f'load_from={path}' in sentence


def test_amp_without_a_gpu(fails, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    sentence = fails('train.py', CONFIG, '--amp')
    assert sentence.startswith('--amp needs a GPU')


def test_auto_scale_lr_without_a_batch_size(fails, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict()\n')
    sentence = fails('train.py', path, '--auto-scale-lr')
    assert 'needs auto_scale_lr.base_batch_size' in sentence


@pytest.mark.parametrize(
    ('arguments', 'why'),
    [
        (['--out', 'a.json'], "--out 'a.json' has to end in .pkl"),
        (['--tta'], '--tta needs tta_model in '),
        (['--show'], '--show and --show-dir need default_hooks.visualizatio'),
    ],
)
def test_arguments_of_a_test(fails, options, tmp_path, arguments, why):
    path, config = tmp_path / 'weights.pth', tmp_path / 'config.py'
    write_checkpoint(path)
    config.write_text(f'_base_ = {str(CONFIG)!r}\nvisualizer = None\n')
    sentence = fails('test.py', config, path, *arguments, *options)
    assert sentence.startswith(why)
