# Copyright (c) mmnorm contributors. All rights reserved.
"""A classifier is trained, and a detector and a segmenter start from it."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG as MASK_RCNN
from tests.paths import ROOT

TOOL = 'make_mini_imagenet'
SIZES = ('--train', 20, '--val', 10)
MINI = ROOT / 'configs/mini'
CONFIG = MINI / 'resnet18_bcn-ws-all_1xb32-10e_mini-imagenet.py'
DEEPLAB = MINI / 'deeplabv3_r18-d8-ws_bcn-all_1xb1-2k_mini-cityscapes.py'
# The mini segmenter is half as wide as the classifier.
WIDE = """
    backbone=dict(base_channels=64, norm_cfg=dict(num_groups=32), {}),
    decode_head=dict(in_channels=512),
    auxiliary_head=dict(in_channels=256),
"""
# The mini configs have init_cfg=None, which takes no settings.
INIT = """init_cfg=dict(
    _delete_=True, type='Pretrained', checkpoint={!r}, prefix='backbone.'
)"""


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def accuracy(text: str) -> float:
    """Return the accuracy that a tool has written into a line of JSON."""
    return json.loads(text)['accuracy/top1']


@pytest.fixture
def published(dataset, succeeds, tmp_path) -> Path:
    """Train, test and publish a classifier."""
    roots = [
        f'{split}_dataloader.dataset.data_root={dataset}'
        for split in ('train', 'val', 'test')
    ]
    small = ['train_dataloader.batch_size=10', 'train_cfg.max_epochs=1']
    work = tmp_path / 'work'
    options = ['--work-dir', work, '--cfg-options', *roots, *small]
    succeeds('train.py', CONFIG, *options)
    checkpoint = work / 'epoch_1.pth'
    log = next(work.glob('*/vis_data/scalars.json')).read_text()

    options[1] = tmp_path / 'tested'
    out = tmp_path / 'predictions.pkl'
    shown = ('--show-dir', tmp_path / 'shown')
    arguments = (CONFIG, checkpoint, '--out', out, '--fold', *shown, *options)
    # 20 standardized weights and the batch parts of 20 norms are folded.
    assert 'folded 40, kept 0' in succeeds('test.py', *arguments)
    tested = next((tmp_path / 'tested').glob('*/*.json')).read_text()
    assert accuracy(tested) == accuracy(log.splitlines()[-1])
    assert out.is_file()
    assert len(list((tmp_path / 'shown').iterdir())) == 1

    succeeds('publish.py', checkpoint, tmp_path / 'resnet18')
    (path,) = tmp_path.glob('resnet18-*.pth')
    return path


@pytest.fixture
def data(mini_coco, tmp_path, monkeypatch) -> Path:
    """Make the data of the detector and of the segmenter."""
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/mini_coco').symlink_to(mini_coco)
    monkeypatch.syspath_prepend(ROOT / 'tools/dataset_converters')
    out = str(tmp_path / 'data/mini_cityscapes')
    arguments = ['', out, '--train=2', '--val=2']
    monkeypatch.setattr(sys, 'argv', arguments)
    importlib.import_module('make_mini_cityscapes').main()
    return tmp_path


def build_backbone(path: Path) -> dict[str, Tensor]:
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model.backbone.state_dict()


@pytest.mark.parametrize(
    ('base', 'settings', 'length'),
    [
        (MASK_RCNN, 'backbone=dict({})', 'max_epochs=1, val_interval=2'),
        (DEEPLAB, WIDE, 'max_iters=2, val_interval=3'),
    ],
    ids=['detector', 'segmenter'],
)
def test_the_backbone_starts_from_the_classifier(
    published, data, succeeds, monkeypatch, base, settings, length
):
    config = data / 'config.py'
    init = settings.format(INIT.format(str(published)))
    config.write_text(
        f'_base_ = {str(base)!r}\n'
        f'model = dict({init})\n'
        f'train_cfg = dict({length})\n'
    )
    loaded = build_backbone(config)
    classifier = {
        key.removeprefix('backbone.'): value
        for key, value in weights(published).items()
        if key.startswith('backbone.')
    }
    assert loaded.keys() == classifier.keys()
    for key, value in classifier.items():
        torch.testing.assert_close(loaded[key], value, rtol=0, atol=0, msg=key)

    monkeypatch.chdir(data)
    text = succeeds('train.py', config, '--work-dir', data / 'run')
    assert f'load backbone. in model from: {published}' in text
    for complaint in ('unexpected key', 'missing keys', 'size mismatch'):
        assert complaint not in text
    assert 'Saving checkpoint at' in text
