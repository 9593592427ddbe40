# Copyright (c) mmnorm contributors. All rights reserved.
"""What is found in small data sets, whole and spoilt."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmnorm.config.check_data import MINI, OWN, SECTIONS, Row, check_data

GUIDE = Path(__file__).parents[2] / 'docs/data.md'


def write_picture(path: Path, ids: object = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0] = ids
    Image.fromarray(pixels).save(path)


def found(cfg: dict) -> list[tuple[str, str, str]]:
    """What, its status and the details, a row each."""
    return [(r.what, r.status, r.details) for r in check_data(Config(cfg))]


# COCO


def write_coco(root: Path) -> dict:
    """Two pictures with a person each; what is in the annotation file."""
    for name in ('1.jpg', '2.jpg'):
        write_picture(root / 'img' / name)
    content = dict(
        images=[
            dict(id=i, file_name=f'{i}.jpg', height=4, width=6) for i in (1, 2)
        ],
        annotations=[
            dict(id=i, image_id=i, category_id=7, bbox=[0, 0, 2, 2], area=4)
            for i in (1, 2)
        ],
        categories=[dict(id=7, name='person'), dict(id=9, name='dog')],
    )
    (root / 'ann.json').write_text(json.dumps(content))
    return content


@pytest.fixture
def coco(tmp_path: Path) -> dict:
    """The config of a detector; its data are on the disk."""
    write_coco(tmp_path)
    dataset = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        metainfo=dict(classes=('person', 'dog')),
        ann_file='ann.json',
        data_prefix=dict(img='img/'),
    )
    return dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))


def test_coco_is_found(coco):
    path = coco['train_dataloader']['dataset']['data_root']
    ann_file, images = check_data(Config(coco))
    assert ann_file == Row(
        split='train',
        dataset='CocoDataset',
        what='annotations',
        path=f'{path}/ann.json',
        status='found',
        details='2 images, 2 annotations',
        section=OWN,
    )
    assert images[2:] == ('images', f'{path}/img/', 'found', '2 files', OWN)


def test_wrappers_and_every_split(coco):
    leaf = coco['train_dataloader']['dataset']
    pair = dict(type='ConcatDataset', datasets=[leaf, leaf])
    repeated = dict(type='RepeatDataset', times=2, dataset=pair)
    mixed = dict(type='MultiImageMixDataset', dataset=leaf, pipeline=[])
    coco['train_dataloader']['dataset'] = repeated
    coco['val_dataloader'] = dict(dataset=mixed)
    coco['test_dataloader'] = dict(dataset=leaf)
    rows = check_data(Config(coco))
    splits = ''.join(row.split[0] for row in rows)
    assert splits == 'tttt' + 'vv' + 'tt'


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
def test_annotation_file(coco, tmp_path, text, status, why):
    path = tmp_path / 'ann.json'
    path.unlink()
    if text is not None:
        path.write_text(text)
    (_, ann_file, details), images = found(coco)
    assert ann_file == status
    assert why in details
    # Nobody knows how many there have to be.
    assert images == ('images', 'found', '')


def test_only_a_test_needs_no_annotations(coco, tmp_path):
    content = write_coco(tmp_path)
    del content['annotations']
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    assert found(coco)[0] == ('annotations', 'empty', 'no annotations')
    coco['test_dataloader'] = coco.pop('train_dataloader')
    (_, status, _), images = found(coco)
    assert status == 'found'
    assert images == ('images', 'found', '2 files')


def test_classes_that_the_file_does_not_have(coco):
    dataset = coco['train_dataloader']['dataset']
    dataset['metainfo'] = dict(classes=('cat', 'person', 'cow'))
    details = "2 classes are no category: 'cat', 'cow'"
    assert found(coco)[0] == ('annotations', 'broken', details)
    # What is there has the right numbers if it comes first.
    dataset['metainfo'] = dict(classes=('person', 'cat', 'cow'))
    details = '2 images, 2 annotations of 1 of the 3 classes'
    assert found(coco)[0] == ('annotations', 'found', details)
    # Without metainfo the 80 classes of COCO count.
    del dataset['metainfo']
    assert found(coco)[0][2].startswith('78 classes are no category: ')


def test_pictures(coco, tmp_path):
    folder = tmp_path / 'img'
    (folder / '2.jpg').write_bytes((folder / '1.jpg').read_bytes()[:-40])
    _, status, details = found(coco)[1]
    assert (status, details.split()[0]) == ('broken', '2.jpg')
    (folder / '2.jpg').unlink()
    assert found(coco)[1] == ('images', 'missing', '1 of 2: 2.jpg')
    folder.rename(tmp_path / 'other')
    assert found(coco)[1] == ('images', 'missing', '')


def test_evaluators(coco, tmp_path):
    coco['val_evaluator'] = [
        dict(type='CocoMetric', ann_file=str(tmp_path / 'ann.json')),
        dict(type='CityScapesMetric', seg_prefix=str(tmp_path / 'gtFine')),
        dict(type='IoUMetric'),
    ]
    assert found(coco)[2:] == [
        ('annotations', 'found', '2 images, 2 annotations'),
        ('labels', 'missing', ''),
    ]


# Segmentation

NO_CLASSES = dict(
    type='BaseSegDataset',
    img_suffix='_leftImg8bit.png',
    seg_map_suffix='_gtFine_labelTrainIds.png',
)


@pytest.fixture
def seg(tmp_path: Path) -> dict:
    """The config of a segmenter with 19 classes; its data are there."""
    for city in 'ab':
        for index in range(2):
            name = f'{city}/{index}'
            write_picture(tmp_path / f'img/{name}_leftImg8bit.png')
            label = tmp_path / f'ids/{name}_gtFine_labelTrainIds.png'
            write_picture(label, [0, 1, 2, 3, 18, 255])
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
    write_picture(label, [0, 1, 2, 3, ids, 255])
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
    assert 'is not a picture' in found(seg)[1][2]


@pytest.fixture
def voc(tmp_path: Path) -> dict:
    for name in 'ab':
        write_picture(tmp_path / f'JPEGImages/{name}.jpg')
        write_picture(tmp_path / f'SegmentationClass/{name}.png')
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
    # The class asserts that it is there when it is made.
    (tmp_path / 'train.txt').unlink()
    assert [row[1] for row in found(voc)] == ['missing', 'found', 'found']


# Configs


def test_data_set_of_another_kind(tmp_path):
    dataset = dict(
        type='XMLDataset',
        data_root=str(tmp_path),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
    )
    cfg = dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))
    assert [row[1] for row in found(cfg)] == ['missing', 'missing']


@pytest.mark.parametrize(
    ('dataset', 'why'),
    [
        (None, "val_dataloader.dataset has no 'type'"),
        (dict(type='CocoDataste'), "mmdet has no 'CocoDataste'"),
        (dict(type='CocoDataset', data_rot='a'), "argument 'data_rot'"),
        (dict(type='RepeatDataset', dataset={}), 'dataset.dataset has no'),
        (dict(type='RepeatDatast', dataset={}), "no 'RepeatDatast'"),
    ],
)
def test_config_that_cannot_be_meant(dataset, why):
    loader = dict(dataset=dataset)
    with pytest.raises(ValueError, match=why):
        check_data(Config(dict(default_scope='mmdet', val_dataloader=loader)))


def test_config_without_data():
    with pytest.raises(ValueError, match='names no data'):
        check_data(Config(dict(train_dataloader=None)))


def sections() -> Iterator[tuple[str, dict, str]]:
    yield 'mmdet', dict(type='CocoDataset'), 'COCO 2017'
    yield 'mmdet', dict(type='CityscapesDataset'), 'Cityscapes'
    yield 'mmseg', dict(type='CityscapesDataset'), 'Cityscapes'
    yield 'mmseg', dict(type='COCOStuffDataset'), 'COCO-Stuff164k'
    voc = dict(type='PascalVOCDataset', ann_file='train.txt')
    yield 'mmseg', voc, 'VOC 2012 with SBD'
    own = dict(type='CocoDataset', metainfo=dict(classes=('a', 'b')))
    yield 'mmdet', own, OWN
    yield 'mmdet', own | dict(data_root='data/mini_coco/'), MINI
    yield 'mmdet', dict(type='XMLDataset'), OWN


@pytest.mark.parametrize(('scope', 'dataset', 'section'), list(sections()))
def test_section_of_the_guide(tmp_path, scope, dataset, section):
    dataset = dict(data_root=str(tmp_path / 'none')) | dataset
    prefix = dict(img='img', img_path='img')
    loader = dict(dataset=dataset | dict(data_prefix=prefix))
    cfg = Config(dict(default_scope=scope, train_dataloader=loader))
    assert {row.section for row in check_data(cfg)} == {section}


def test_sections_are_in_the_guide():
    headings = GUIDE.read_text().splitlines()
    for section in (*SECTIONS.values(), OWN, MINI):
        assert f'## {section}' in headings


def test_configs_in_the_guide(tmp_path):
    blocks = re.findall('```python\n(.*?)```', GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        path = tmp_path / 'config.py'
        path.write_text(block)
        rows = check_data(Config.fromfile(path))
        assert {row.status for row in rows} == {'missing'}
        assert {row.section for row in rows} == {OWN}
        assert all(row.path.startswith('data/mine/') for row in rows)
