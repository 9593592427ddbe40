# Copyright (c) mmnorm contributors. All rights reserved.
"""Penn-Fudan in its public layout becomes what mmdet expects."""

import re
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from PIL import Image
from pycocotools.coco import COCO

from tests.conftest import Main

TOOL = 'pennfudan'
NAMES = [f'FudanPed{number:05}' for number in range(1, 5)]
NAMES += [f'PennPed{number:05}' for number in range(1, 4)]
VAL = 4
"""The fifth of the seven photographs."""
LARGE = 6


def shape(number: int) -> tuple[int, int]:
    return (960, 1280) if number == LARGE else (40 + number, 64)


def people(number: int) -> np.ndarray:
    """Return ``number % 3`` rectangles, the last with two parts."""
    height, width = shape(number)
    mask = np.zeros((height, width), np.uint8)
    if number % 3:
        mask[height // 4 : height // 2, width // 8 : width // 4] = 1
    if number % 3 == 2:
        mask[height // 8 : height // 4, width // 2 :] = 2
        mask[height // 2 :, width // 2 : 3 * width // 4] = 2
    return mask


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / 'PennFudanPed'
    for name in ('PNGImages', 'PedMasks', 'Annotation'):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        image = np.full((*shape(number), 3), 30 * number, np.uint8)
        Image.fromarray(image).save(folder / 'PNGImages' / f'{name}.png')
        mask = Image.fromarray(people(number))
        mask.save(folder / 'PedMasks' / f'{name}_mask.png')
    return folder


@pytest.fixture
def out(source: Path, main: Main, tmp_path: Path) -> Path:
    main(source, tmp_path / 'pennfudan')
    return tmp_path / 'pennfudan'


def members(split: str) -> list[int]:
    numbers = range(len(NAMES))
    return [
        number for number in numbers if (number == VAL) == (split == 'val')
    ]


def index(out: Path, split: str) -> COCO:
    return COCO(out / 'annotations' / f'instances_{split}.json')


def test_layout(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        'annotations',
        'images',
        'pennfudan.json',
    }
    files = sorted(path.name for path in (out / 'images').iterdir())
    assert files == [f'{name}.jpg' for name in NAMES]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_are_those_of_the_source(out: Path, split: str) -> None:
    coco = index(out, split)
    assert coco.dataset['categories'] == [{'id': 1, 'name': 'person'}]
    numbers = members(split)
    assert sorted(coco.imgs) == [number + 1 for number in numbers]
    for number in numbers:
        # A photograph at half its size keeps every other pixel.
        mask = people(number)[:: 1 + (number == LARGE)]
        mask = mask[:, :: 1 + (number == LARGE)]
        image = coco.imgs[number + 1]
        assert image['file_name'] == f'{NAMES[number]}.jpg'
        assert (image['height'], image['width']) == mask.shape
        annotations = coco.imgToAnns[number + 1]
        assert len(annotations) == mask.max() == number % 3
        for person, annotation in enumerate(annotations, 1):
            found = coco.annToMask(annotation)
            np.testing.assert_array_equal(found, mask == person)
            rows, columns = np.nonzero(found)
            assert annotation['area'] == found.sum()
            assert annotation['bbox'] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]


def test_no_number_has_two_people(out: Path) -> None:
    train, val = (index(out, split) for split in ('train', 'val'))
    total = sum(number % 3 for number in range(len(NAMES)))
    assert sorted((*train.anns, *val.anns)) == list(range(1, total + 1))


def test_mmdet_loads_it(out: Path) -> None:
    loaded = CocoDataset(
        data_root=str(out),
        ann_file='annotations/instances_train.json',
        data_prefix={'img': 'images/'},
        metainfo={'classes': ('person',)},
        pipeline=[
            {'type': 'mmdet.LoadImageFromFile'},
            {
                'type': 'mmdet.LoadAnnotations',
                'with_bbox': True,
                'with_mask': True,
            },
        ],
    )
    assert len(loaded) == len(NAMES) - 1
    for number, item in zip(members('train'), loaded, strict=True):
        scale = 2 if number == LARGE else 1
        height, width = (side // scale for side in shape(number))
        assert item['img'].shape == (height, width, 3)
        assert np.abs(item['img'] - 30.0 * number).max() < 4
        assert item['gt_masks'].masks.shape == (number % 3, height, width)


def spoil(source: Path, how: str) -> None:
    mask = source / 'PedMasks/PennPed00001_mask.png'
    if how == 'folder':
        (source / 'PNGImages').rename(source / 'images')
    elif how == 'mask':
        mask.unlink()
    elif how == 'shape':
        Image.new('L', (64, 44)).resize((10, 20)).save(mask)


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('folder', 'PNGImages has no PNG files; give the folder PennFudanPed'),
        ('mask', 'PedMasks/PennPed00001_mask.png ([Errno 2] No such file'),
        ('shape', 'has the shape (20, 10), and its photograph (44, 64); unp'),
    ],
)
def test_bad_source(
    source: Path, main: Main, tmp_path: Path, how: str, reason: str
) -> None:
    spoil(source, how)
    with pytest.raises(SystemExit, match=re.escape(reason)) as refusal:
        main(source, tmp_path / 'pennfudan')
    assert f'{source}' in str(refusal.value)
    assert list(tmp_path.iterdir()) == [source]
