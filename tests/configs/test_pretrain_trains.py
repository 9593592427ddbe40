# Copyright (c) mmnorm contributors. All rights reserved.
"""Classifiers train two steps and evaluate, with the classes of mmpretrain."""

import importlib
import math
import pickle
import sys
from pathlib import Path

import mmpretrain.datasets
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from .zoo import CLASSIFIERS, ROOT, Name, path_of

TRAINED = (
    'resnet50_bcn-ws-all_4xb64-90e_imagenet',
    'resnet50_gn-ws-all_4xb64-90e_imagenet',
    'resnet50_sn-all_8xb32-120e_imagenet',
    'resnet110_bcn-ws-all_1xb128-164e_cifar10',
    'resnet110_syncbn-all_1xb128-164e_cifar100',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Make a folder with a mini twin of each data set, where configs look."""
    root = tmp_path_factory.mktemp('user')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT.parent / 'tools/dataset_converters')
        arguments = ['', str(root / 'data/imagenet'), '--train=20', '--val=10']
        patch.setattr(sys, 'argv', arguments)
        importlib.import_module('make_mini_imagenet').main()
    rng = np.random.default_rng(0)
    for name, key, files in (
        ('cifar10', 'labels', ['data_batch_1', 'test_batch']),
        ('cifar100', 'fine_labels', ['train', 'test']),
    ):
        cls = getattr(mmpretrain.datasets, name.upper())
        base = root / 'data' / name / cls.base_folder
        base.mkdir(parents=True)
        for file in files:
            pixels = rng.integers(0, 256, (8, 3072), np.uint8)
            entry = {'data': pixels, key: [*range(8)]}
            (base / file).write_bytes(pickle.dumps(entry))
    return root


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', TRAINED)
def test_config_trains_and_evaluates(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    # The files are not those whose digests the classes know.
    for cls, train, test in (
        (mmpretrain.datasets.CIFAR10, 'data_batch_1', 'test_batch'),
        (mmpretrain.datasets.CIFAR100, 'train', 'test'),
    ):
        monkeypatch.setattr(cls, 'train_list', [[train, None]])
        monkeypatch.setattr(cls, 'test_list', [[test, None]])
    cfg = Config.fromfile(path_of(name))
    cfg.work_dir = 'work_dir'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0)
        if loader.dataset.type == 'ImageNet':
            loader.dataset.metainfo = dict(classes=tuple('0123456789'))
    if 'imagenet' in name:
        cfg.train_dataloader.dataset.pipeline[1].scale = 64
        cfg.val_dataloader.dataset.pipeline[1].scale = 72
        cfg.val_dataloader.dataset.pipeline[2].crop_size = 64
    cfg.train_cfg = dict(by_epoch=False, max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint = None

    runner = Runner.from_cfg(cfg)
    runner.train()

    history = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(history) == 2
    assert all(math.isfinite(loss) for loss in history)
    value = runner.message_hub.get_scalar('val/accuracy/top1').current()
    assert 0 <= value <= 100


def test_trained_configs_cover_the_classifiers():
    trained = [Name.parse(name) for name in TRAINED]
    zoo = [Name.parse(p.stem) for p in CLASSIFIERS if 'mini' not in p.stem]
    assert {n.data for n in trained} == {n.data for n in zoo}
    assert {n.norm for n in trained} == {n.norm for n in zoo}
    assert {n.schedule for n in zoo} - {n.schedule for n in trained} == {
        '100e'
    }
