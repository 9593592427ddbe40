# Copyright (c) mmnorm contributors. All rights reserved.
"""A Roboflow export of facades becomes what mmdet and mmseg expect."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmseg.datasets import BaseSegDataset
from PIL import Image
from pycocotools.coco import COCO

from tests.conftest import Main

TOOL = 'facade'
CLASSES = ('facade', 'vegetation', 'window')
FOLDERS = {'train': 'train', 'val': 'valid'}
LICENSES = [{'id': 1, 'name': 'CC BY 4.0', 'url': 'https://example.org'}]
BOXES = [
    # category, then left, top, right, bottom at 1024 pixels
    (3, 200, 200, 300, 260),
    (1, 100, 100, 900, 800),
    (2, 700, 500, 1024, 1024),
    (3, 720, 520, 740, 560),
    (2, 1022.5, 10, 1024, 30),
]
"""A window before its facade; the last box is narrower than a pixel."""


def polygon(left: float, top: float, right: float, bottom: float) -> list:
    return [left, top, right, top, right, bottom, left, bottom]


def export(names: list[str]) -> dict[str, Any]:
    """Return the file of a split; the images have no order of their ids."""
    categories = [{'id': 0, 'name': 'things', 'supercategory': 'none'}]
    categories += [
        {'id': number, 'name': name, 'supercategory': 'things'}
        for number, name in enumerate(CLASSES, 1)
    ]
    images = [
        {'id': 7 - number, 'license': 1, 'file_name': name}
        for number, name in enumerate(names)
    ]
    annotations = [
        {
            'id': number,
            'image_id': 7,
            'category_id': category,
            'segmentation': [polygon(*box)],
            'iscrowd': 0,
        }
        for number, (category, *box) in enumerate(BOXES)
    ]
    return {
        'info': {'description': 'Exported from roboflow.ai'},
        'licenses': LICENSES,
        'categories': categories,
        'images': images,
        'annotations': annotations,
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / 'source'
    for split in FOLDERS.values():
        (folder / split / 'images').mkdir(parents=True)
        names = [f'{split}_0.rf.8a.jpg', f'{split}_1.rf.1b.jpg']
        path = folder / split / '_annotations.coco.json'
        path.write_text(json.dumps(export(names)))
        for number, name in enumerate(names):
            # Some photographs of the public data are one folder deeper.
            deeper = 'images' if number else '.'
            image = Image.new('RGB', (1024, 1024), (50 * number, 90, 200))
            image.save(folder / split / deeper / name)
    return folder


@pytest.fixture
def out(source: Path, main: Main, tmp_path: Path) -> Path:
    main(source, tmp_path / 'facade')
    return tmp_path / 'facade'


def painted() -> np.ndarray:
    """Paint the boxes by hand, the largest first, without the narrow one.

    OpenCV paints the border of a polygon, too.
    """
    labels = np.full((512, 512), 255)
    labels[50:401, 50:451] = 0
    labels[250:, 350:] = 1
    labels[100:131, 100:151] = 2
    labels[260:281, 360:371] = 2
    return labels


def test_layout(out: Path) -> None:
    files = {'images': '.jpg', 'labels': '.png'}
    assert {path.name for path in out.iterdir()} == {
        *('annotations', 'facade.json'),
        *files,
    }
    for split in FOLDERS:
        for folder, suffix in files.items():
            found = sorted(
                path.name for path in (out / folder / split).glob('*')
            )
            assert found == [f'0001{suffix}', f'0002{suffix}']


@pytest.mark.parametrize('split', FOLDERS)
def test_instances_are_those_of_the_source(out: Path, split: str) -> None:
    coco = COCO(out / 'annotations' / f'instances_{split}.json')
    assert coco.dataset['categories'] == [
        {'id': number, 'name': name} for number, name in enumerate(CLASSES, 1)
    ]
    assert coco.dataset['licenses'] == LICENSES
    assert 'CC BY 4.0' in coco.dataset['info']['description']
    assert list(coco.imgs) == [1, 2]
    assert coco.imgToAnns[2] == []
    found = [
        (
            annotation['category_id'],
            annotation['bbox'],
            annotation['segmentation'],
        )
        for annotation in coco.imgToAnns[1]
    ]
    # The largest instance is the first.
    expected = []
    for number in (1, 2, 0, 3):
        category, *box = BOXES[number]
        left, top, right, bottom = (side / 2 for side in box)
        box = [left, top, right - left, bottom - top]
        rings = [polygon(left, top, right, bottom)]
        expected.append((category, box, rings))
    assert found == expected
    areas = [annotation['area'] for annotation in coco.imgToAnns[1]]
    assert areas == [351 * 401, 262 * 162, 31 * 51, 21 * 11]
    assert list(coco.anns) == [1, 2, 3, 4]


@pytest.mark.parametrize('split', FOLDERS)
def test_mmseg_loads_it(out: Path, split: str) -> None:
    loaded = BaseSegDataset(
        data_root=str(out),
        data_prefix={
            'img_path': f'images/{split}',
            'seg_map_path': f'labels/{split}',
        },
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo={'classes': CLASSES},
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )
    full, empty = loaded
    np.testing.assert_array_equal(full['gt_seg_map'], painted())
    assert (empty['gt_seg_map'] == 255).all()
    for number, item in enumerate((full, empty)):
        assert item['img'].shape == (512, 512, 3)
        assert np.abs(item['img'] - [200.0, 90, 50 * number]).max() < 4


@pytest.mark.parametrize('split', FOLDERS)
def test_mmdet_loads_it(out: Path, split: str) -> None:
    loaded = CocoDataset(
        data_root=str(out),
        ann_file=f'annotations/instances_{split}.json',
        data_prefix={'img': f'images/{split}/'},
        metainfo={'classes': CLASSES},
        pipeline=[
            {'type': 'mmdet.LoadImageFromFile'},
            {
                'type': 'mmdet.LoadAnnotations',
                'with_bbox': True,
                'with_mask': True,
            },
        ],
    )
    full, empty = loaded
    assert full['gt_bboxes_labels'].tolist() == [0, 1, 2, 2]
    assert full['gt_masks'].masks.shape == (4, 512, 512)
    assert len(empty['gt_bboxes']) == 0


def test_parts_of_an_instance_may_overlap(module: Any) -> None:
    parts = [polygon(0, 0, 40, 40), polygon(20, 20, 60, 60)]
    found = module.annotate({'category_id': 1, 'segmentation': parts})
    assert found['bbox'] == [0, 0, 30, 30]
    assert found['area'] == 21**2 + 21**2 - 11**2


def spoil(source: Path, how: str) -> None:
    path = source / 'valid/_annotations.coco.json'
    content = json.loads(path.read_text())
    annotation = content['annotations'][1]
    if how == 'file':
        path.unlink()
    elif how == 'text':
        path.write_text('{"images": [')
    elif how == 'list':
        path.write_text('[]')
    elif how == 'photo':
        (source / 'valid/valid_0.rf.8a.jpg').unlink()
    elif how == 'size':
        Image.new('RGB', (640, 512)).save(source / 'valid/valid_0.rf.8a.jpg')
    elif how == 'polygon':
        annotation['segmentation'] = []
    elif how == 'category':
        annotation['category_id'] = 0
    if how in ('polygon', 'category'):
        path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('file', 'does not exist; give the folder building-facade-segm'),
        ('text', "is damaged (JSONDecodeError('Expecting value"),
        ('list', "is damaged (TypeError('list indices must be"),
        ('photo', 'valid_0.rf.8a.jpg ([Errno 2] No such file or directory'),
        ('size', 'has 640 x 512 pixels, not 1024 x 1024; take the orig'),
        ('polygon', 'no polygon for the annotation 1; export it as COCO'),
        ('category', "is damaged (ValueError('category 0')); unpack the d"),
    ],
)
def test_bad_source(
    source: Path, main: Main, tmp_path: Path, how: str, reason: str
) -> None:
    spoil(source, how)
    with pytest.raises(SystemExit, match=re.escape(reason)) as refusal:
        main(source, tmp_path / 'facade')
    assert f'{source}' in str(refusal.value)
    assert list(tmp_path.iterdir()) == [source]
