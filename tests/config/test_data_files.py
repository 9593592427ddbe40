# Copyright (c) mmnorm contributors. All rights reserved.
"""Statuses of small files and folders, whole and spoilt."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmnorm.config.data_files import (
    OPENED,
    check_coco,
    check_file,
    check_folder,
    check_image,
    read_coco,
)


def test_file(tmp_path):
    path = tmp_path / 'list.txt'
    assert check_file(path) == ('missing', '')
    path.touch()
    assert check_file(path) == ('empty', '0 bytes')
    path.write_text('a')
    assert check_file(path) == ('found', '')
    assert check_file(tmp_path) == ('missing', '')


def test_folder(tmp_path):
    files = [tmp_path / f'{i}.txt' for i in range(OPENED + 1)]
    assert check_folder(tmp_path / 'none') == ('missing', '')
    assert check_folder(tmp_path) == ('found', '')
    assert check_folder(tmp_path, []) == ('empty', 'no file of the right name')
    for file in files[1:]:
        file.touch()
    details = f'1 of {OPENED + 1}: 0.txt'
    assert check_folder(tmp_path, files) == ('missing', details)


def test_files_of_a_folder_are_opened(tmp_path):
    files = [tmp_path / f'{i}.txt' for i in range(OPENED + 1)]
    for file in files:
        file.touch()
    opened = []
    verdict = check_folder(tmp_path, files, opened.append)
    assert verdict == ('found', f'{OPENED + 1} files')
    assert opened == files[:OPENED]
    verdict = check_folder(tmp_path, files, lambda file: 'is too large')
    assert verdict == ('broken', '0.txt is too large')


def test_defect_of_a_check_is_no_broken_file(tmp_path):
    def check(file: Path) -> str | None:
        raise TypeError('a defect')

    (tmp_path / 'a.txt').touch()
    with pytest.raises(TypeError, match='a defect'):
        check_folder(tmp_path, [tmp_path / 'a.txt'], check)


@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_image(tmp_path, name):
    path = tmp_path / name
    pixels = np.random.default_rng(0).integers(256, size=(40, 60), dtype='u1')
    Image.fromarray(pixels).save(path)
    assert check_folder(tmp_path, [path], check_image) == ('found', '1 files')
    for content in (path.read_bytes()[:-40], b'hello', b''):
        path.write_bytes(content)
        details = f'{name} is not an image, or is truncated'
        verdict = check_folder(tmp_path, [path], check_image)
        assert verdict == ('broken', details)


def write_coco(path: Path, **changes: object) -> None:
    """Write two images with a person each."""
    content = dict(
        images=[
            dict(id=i, file_name=f'{i}.jpg', width=6, height=4) for i in (1, 2)
        ],
        annotations=[
            dict(id=i, image_id=i, category_id=7, bbox=[0, 0, 2, 2], area=4)
            for i in (1, 2)
        ],
        categories=[dict(id=7, name='person'), dict(id=9, name='dog')],
    )
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ('text', 'status', 'why'),
    [
        (None, 'missing', ''),
        ('', 'empty', '0 bytes'),
        ('{"images": [', 'broken', 'JSONDecodeError'),
        ('[]', 'broken', "not in COCO's format"),
        ('{"images": []}', 'broken', "KeyError('categories')"),
        ('{"images": [{}]}', 'broken', "KeyError('file_name')"),
        ('{"images": [], "categories": []}', 'empty', 'no images'),
    ],
)
def test_annotation_file(tmp_path, text, status, why):
    path = tmp_path / 'ann.json'
    if text is not None:
        path.write_text(text)
    verdict, details = check_coco(path, 'train')
    assert verdict == status
    assert why in details


def test_only_a_test_needs_no_annotations(tmp_path):
    path = tmp_path / 'ann.json'
    write_coco(path, annotations=[])
    for split in ('train', 'val'):
        assert check_coco(path, split) == ('empty', 'no annotations')
    details = '2 images, 0 annotations'
    assert check_coco(path, 'test') == ('found', details)


@pytest.mark.parametrize(
    ('classes', 'status', 'details'),
    [
        (('person', 'dog'), 'found', '2 images, 2 annotations'),
        (
            # mmdet would call each person a dog.
            ('dog', 'person'),
            'broken',
            "its categories are, in order, 'person', 'dog': sort classes so",
        ),
        (
            ('cat', 'person', 'cow'),
            'broken',
            "2 classes are no category: 'cat', 'cow'",
        ),
        (
            # mmdet numbers person right, because person is the first class.
            ('person', 'cat', 'cow'),
            'found',
            '2 images, 2 annotations of 1 of the 3 classes',
        ),
    ],
)
def test_classes(tmp_path, classes, status, details):
    path = tmp_path / 'ann.json'
    write_coco(path)
    assert check_coco(path, 'train', classes) == (status, details)


def test_class_that_the_file_names_twice(tmp_path):
    # mmdet would number the second one behind the last class.
    path = tmp_path / 'ann.json'
    names = [dict(id=0, name='person'), dict(id=1, name='person')]
    write_coco(path, categories=names)
    status, details = check_coco(path, 'train', ('person',))
    assert (status, details[:22]) == ('broken', 'its categories are, in')


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (dict(area=None), "KeyError('area')"),
        (dict(bbox=[]), 'not enough values to unpack'),
        (dict(id=2), 'two annotations have one id'),
    ],
)
def test_annotations_that_mmdet_cannot_read(tmp_path, change, why):
    path = tmp_path / 'ann.json'
    box = dict(id=1, image_id=1, category_id=7, bbox=[0, 0, 2, 2], area=4)
    spoilt = {k: v for k, v in (box | change).items() if v is not None}
    write_coco(path, annotations=[dict(box, id=2), spoilt])
    status, details = check_coco(path, 'train')
    assert status == 'broken'
    assert why in details


def test_an_evaluation_cannot_have_the_id_0(tmp_path):
    path = tmp_path / 'ann.json'
    box = dict(id=0, image_id=1, category_id=7, bbox=[0, 0, 2, 2], area=4)
    write_coco(path, annotations=[box])
    assert check_coco(path, 'train')[0] == 'found'
    details = 'an annotation has the id 0: number them from 1'
    assert check_coco(path, 'val') == ('broken', details)


def test_panoptic_annotations_and_names_of_lvis(tmp_path):
    path = tmp_path / 'ann.json'
    url = 'http://images.cocodataset.org/train2017/1.jpg'
    image = dict(id=1, coco_url=url, width=6, height=4)
    panoptic = dict(image_id=1, segments_info=[], file_name='1.png')
    write_coco(path, images=[image], annotations=[panoptic])
    assert check_coco(path, 'val')[0] == 'found'
    assert read_coco(path).files == ('train2017/1.jpg',)


def test_image_that_exif_turns(tmp_path):
    path = tmp_path / 'a.jpg'
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new('RGB', (60, 40)).save(path, exif=exif)
    assert check_image(path, (40, 60)) is None
    assert check_image(path, (60, 40)).startswith('has 40 x 60 pixels, and no')
