# Copyright (c) mmnorm contributors. All rights reserved.
"""Rows of the data of segmenters, whole and spoilt."""

from pathlib import Path

import pytest
from PIL import Image

from .data import found, write_image

NO_CLASSES = dict(
    type='BaseSegDataset',
    img_suffix='_leftImg8bit.png',
    seg_map_suffix='_gtFine_labelTrainIds.png',
)


@pytest.fixture
def seg(tmp_path: Path) -> dict:
    """Return the config of a segmenter of 19 classes, and write its data."""
    for city in 'ab':
        for index in range(2):
            name = f'{city}/{index}'
            write_image(tmp_path / f'img/{name}_leftImg8bit.png')
            label = tmp_path / f'ids/{name}_gtFine_labelTrainIds.png'
            write_image(label, [0, 1, 2, 3, 18, 255])
    dataset = dict(
        type='CityscapesDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='img', seg_map_path='ids'),
        pipeline=[],
    )
    return dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset))


def test_segmentation_is_found(seg):
    assert found(seg) == [
        ('images', 'found', '4 files'),
        ('labels', 'found', '4 files'),
    ]


def test_labels_that_are_not_there(seg, tmp_path):
    (tmp_path / 'ids/b/1_gtFine_labelTrainIds.png').unlink()
    details = '1 of 4: 1_gtFine_labelTrainIds.png'
    assert found(seg)[1] == ('labels', 'missing', details)


def test_folders_that_are_not_there(seg, tmp_path):
    (tmp_path / 'img').rename(tmp_path / 'other')
    images, labels = found(seg)
    assert images == ('images', 'missing', '')
    assert labels == ('labels', 'found', '')
    (tmp_path / 'img').mkdir()
    assert [row[1] for row in found(seg)] == ['empty', 'empty']


@pytest.mark.parametrize(
    ('ids', 'settings', 'why'),
    [
        (19, {}, 'has the id 19; the last class is 18'),
        (19, dict(reduce_zero_label=True), None),
        (20, dict(reduce_zero_label=True), 'has the id 19; the last'),
        (18, dict(metainfo=dict(classes=('road', 'sky'))), None),
        (9, dict(ignore_index=9), 'has the id 255; the last class is 18'),
        (99, NO_CLASSES, None),
    ],
)
def test_ids_of_labels(seg, tmp_path, ids, settings, why):
    label = tmp_path / 'ids/a/1_gtFine_labelTrainIds.png'
    write_image(label, [0, 1, 2, 3, ids, 255])
    seg['train_dataloader']['dataset'].update(settings)
    _, status, details = found(seg)[1]
    if why is None:
        assert status == 'found'
    else:
        assert status == 'broken'
        assert why in details


def test_labels_that_are_no_ids(seg, tmp_path):
    label = tmp_path / 'ids/a/0_gtFine_labelTrainIds.png'
    Image.new('RGB', (6, 4)).save(label)
    assert 'has 3 channels' in found(seg)[1][2]
    label.write_text('hello')
    assert 'is not an image' in found(seg)[1][2]


@pytest.fixture
def voc(tmp_path: Path) -> dict:
    for name in 'ab':
        write_image(tmp_path / f'JPEGImages/{name}.jpg')
        write_image(tmp_path / f'SegmentationClass/{name}.png')
    (tmp_path / 'train.txt').write_text('a\nb\n')
    dataset = dict(
        type='PascalVOCDataset',
        data_root=str(tmp_path),
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='train.txt',
    )
    return dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset))


def test_list(voc, tmp_path):
    assert found(voc) == [
        ('list', 'found', '2 names'),
        ('images', 'found', '2 files'),
        ('labels', 'found', '2 files'),
    ]
    (tmp_path / 'train.txt').write_text('a\nb\nc\n')
    assert found(voc) == [
        ('list', 'found', '3 names'),
        ('images', 'missing', '1 of 3: c.jpg'),
        ('labels', 'missing', '1 of 3: c.png'),
    ]
    (tmp_path / 'train.txt').write_text('')
    assert found(voc)[0] == ('list', 'empty', '0 bytes')
    # The data set asserts, when it is made, that the list is there.
    (tmp_path / 'train.txt').unlink()
    assert [row[1] for row in found(voc)] == ['missing', 'found', 'found']
