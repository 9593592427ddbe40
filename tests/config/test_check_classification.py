# Copyright (c) mmnorm contributors. All rights reserved.
"""Rows of the data of classifiers, whole and spoilt."""

from hashlib import md5
from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.datasets import CIFAR10

from mmnorm.config.check_data import check_data

from .data import found, write_image

CLASSES = dict(classes=('cat', 'dog'))


@pytest.fixture
def folders(tmp_path: Path) -> dict:
    """Return the config of a classifier of folders, and write its data."""
    for name in ('cat/1', 'cat/2', 'dog/1'):
        write_image(tmp_path / f'train/{name}.JPEG')
    dataset = dict(
        type='ImageNet',
        data_root=str(tmp_path),
        split='train',
        metainfo=CLASSES,
    )
    loader = dict(dataset=dataset)
    return dict(default_scope='mmpretrain', train_dataloader=loader)


def test_folders_are_found(folders):
    assert found(folders) == [('images', 'found', '3 files')]


def test_list_is_found(folders, tmp_path):
    names = tmp_path / 'meta/train.txt'
    names.parent.mkdir()
    names.write_text('cat/1.JPEG 0\ndog/1.JPEG 1\n')
    assert found(folders) == [
        ('list', 'found', ''),
        ('images', 'found', '2 files'),
    ]
    names.write_text('cat/9.JPEG 0\n')
    assert found(folders)[1] == ('images', 'missing', '1 of 1: 9.JPEG')
    names.write_text('cat\n')
    assert found(folders)[1][1] == 'broken'


def test_folders_that_are_not_there(folders, tmp_path):
    (tmp_path / 'train').rename(tmp_path / 'other')
    assert found(folders) == [('images', 'missing', '')]
    folders['train_dataloader']['dataset']['metainfo'] = None
    (row,) = check_data(Config(folders))
    assert row.section == 'ImageNet'


def test_number_of_folders(folders, tmp_path):
    write_image(tmp_path / 'train/cow/1.JPEG')
    ((_, status, details),) = found(folders)
    assert status == 'broken'
    assert details.startswith('The number of subfolders (3)')


def test_broken_image(folders, tmp_path):
    (tmp_path / 'train/dog/1.JPEG').write_bytes(b'none')
    ((_, status, details),) = found(folders)
    assert (status, details.split()[0]) == ('broken', '1.JPEG')


def test_cifar(tmp_path, monkeypatch):
    root = tmp_path / CIFAR10.base_folder
    root.mkdir()
    (root / 'a').write_bytes(b'batch')
    digest = md5(b'batch').hexdigest()
    monkeypatch.setattr(CIFAR10, 'train_list', [['a', digest]])
    monkeypatch.setattr(CIFAR10, 'test_list', [['b', digest]])
    dataset = dict(type='CIFAR10', data_root=str(tmp_path), split='train')
    loader = dict(dataset=dataset)
    cfg = dict(default_scope='mmpretrain', train_dataloader=loader)
    assert found(cfg) == [('images', 'missing', '1 of 2: b')]
    (root / 'b').write_bytes(b'other')
    fault = 'a file is not the published one'
    assert found(cfg) == [('images', 'broken', fault)]
    (root / 'b').write_bytes(b'batch')
    (row,) = check_data(Config(cfg))
    assert row[2:] == ('images', str(root), 'found', '2 files', 'CIFAR')
