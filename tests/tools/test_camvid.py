# Copyright (c) mmnorm contributors. All rights reserved.
"""CamVid in its public layout becomes what mmseg expects."""

import re
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from PIL import Image

from tests.conftest import Main

TOOL = 'camvid'
COUNTS = {'train': 3, 'val': 2}
CLASSES = tuple('abcdefghijk')


def photo(split: str, number: int) -> np.ndarray:
    """Return smooth colors, which JPEG keeps."""
    rows, columns = np.mgrid[:24, :32]
    red = 40 * number + 10 * (split == 'val') + 0 * rows
    return np.stack((red, 5 * rows, 5 * columns), -1).astype(np.uint8)


def truth(split: str, number: int) -> np.ndarray:
    """Return all twelve labels of the source, 0 to 11."""
    labels = np.arange(24 * 32).reshape(24, 32) + number + 5 * (split == 'val')
    return (labels % 12).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / 'CamVid'
    for split, count in COUNTS.items():
        (folder / split).mkdir(parents=True)
        (folder / f'{split}annot').mkdir()
        for number in range(count):
            name = f'{split}_{number}.png'
            image = Image.fromarray(photo(split, number))
            image.save(folder / split / name)
            labels = Image.fromarray(truth(split, number))
            labels.save(folder / f'{split}annot' / name)
    return folder


@pytest.fixture
def out(source: Path, main: Main, tmp_path: Path) -> Path:
    main(source, tmp_path / 'camvid')
    return tmp_path / 'camvid'


def load(out: Path, split: str) -> BaseSegDataset:
    return BaseSegDataset(
        data_root=str(out),
        data_prefix={
            'img_path': f'images/{split}',
            'seg_map_path': f'annotations/{split}',
        },
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo={'classes': CLASSES},
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )


def test_layout(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        'annotations',
        'camvid.json',
        'images',
    }
    assert {path.name for path in out.parent.iterdir()} == {'CamVid', 'camvid'}


@pytest.mark.parametrize('split', COUNTS)
def test_mmseg_loads_it(out: Path, split: str) -> None:
    loaded = load(out, split)
    assert len(loaded) == COUNTS[split]
    for number, item in enumerate(loaded):
        labels = truth(split, number)
        expected = np.where(labels == 11, 255, labels)
        np.testing.assert_array_equal(item['gt_seg_map'], expected)
        error = item['img'][..., ::-1] - photo(split, number).astype(int)
        assert np.abs(error).mean() < 4


def test_says_what_it_wrote(
    source: Path, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    out = source.with_name('camvid')
    main(source, out)
    assert capsys.readouterr().out == f'Wrote 3 + 2 images to {out}.\n'
    main(source, out)
    line = f'{out} already holds this data set; nothing to do.\n'
    assert capsys.readouterr().out == line


def test_second_source_is_another_data_set(
    source: Path, out: Path, main: Main
) -> None:
    (source / 'val/val_1.png').unlink()
    with pytest.raises(SystemExit, match='has val 2, not 1; remove it'):
        main(source, out)


def spoil(source: Path, how: str) -> None:
    name = 'train_1.png'
    if how == 'folder':
        for path in (source / 'val').iterdir():
            path.unlink()
    elif how == 'labels':
        (source / 'trainannot' / name).unlink()
    elif how == 'photo':
        (source / 'train' / name).write_bytes(b'')
    elif how == 'shape':
        Image.new('L', (32, 23)).save(source / 'trainannot' / name)
    elif how == 'label':
        Image.new('L', (32, 24), 12).save(source / 'trainannot' / name)


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('folder', 'val has no PNG files; give the folder CamVid.'),
        ('labels', 'trainannot/train_1.png ([Errno 2] No such file or'),
        ('photo', 'train/train_1.png (cannot identify image file'),
        ('shape', 'has the shape (23, 32), and its photograph (24, 32); unp'),
        ('label', 'has the label 12, and the last one of CamVid is 11; unpa'),
    ],
)
def test_bad_source(
    source: Path, main: Main, tmp_path: Path, how: str, reason: str
) -> None:
    spoil(source, how)
    with pytest.raises(SystemExit, match=re.escape(reason)) as refusal:
        main(source, tmp_path / 'camvid')
    assert f'{source}' in str(refusal.value)
    assert list(tmp_path.iterdir()) == [source]
