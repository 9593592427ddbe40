# Copyright (c) mmnorm contributors. All rights reserved.
"""Rows of the data of detectors, and configs that name no data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from mmnorm.config.check_data import MINI, OWN, SECTIONS, Row, check_data
from mmnorm.config.errors import ConfigError

from .data import found, write_image

GUIDE = Path(__file__).parents[2] / 'docs/data.md'


def write_coco(root: Path) -> dict:
    """Write two images with a person each; return the annotations."""
    for name in ('1.jpg', '2.jpg'):
        write_image(root / 'img' / name)
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
    """Return the config of a detector whose data are on the disk."""
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
        type='CocoDataset',
        role='annotations',
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


def test_images_that_no_file_names(coco, tmp_path):
    (tmp_path / 'ann.json').unlink()
    assert found(coco) == [
        ('annotations', 'missing', ''),
        ('images', 'found', ''),
    ]


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
    # Without metainfo the 80 classes of COCO count.
    del dataset['metainfo']
    assert found(coco)[0][2].startswith('78 classes are no category: ')


def test_broken_image(coco, tmp_path):
    path = tmp_path / 'img/2.jpg'
    path.write_bytes(path.read_bytes()[:-40])
    _, status, details = found(coco)[1]
    assert (status, details.split()[0]) == ('broken', '2.jpg')


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
    with pytest.raises(ConfigError, match=why):
        check_data(Config(dict(default_scope='mmdet', val_dataloader=loader)))


def test_defect_of_a_data_set_keeps_its_traceback(coco, monkeypatch):
    def fail(self, **arguments: object) -> None:
        raise TypeError('a defect')

    monkeypatch.setattr(CocoDataset, '__init__', fail)
    with pytest.raises(TypeError, match='a defect'):
        check_data(Config(coco))


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train_dataloader', 3),
        ('val_evaluator', 3),
        ('val_evaluator', [dict(ann_file='a')]),
    ],
)
def test_settings_of_another_type(key, value):
    with pytest.raises(ConfigError, match=f"^{key}.* has no 'type'$"):
        check_data(Config({key: value}))


def test_config_without_data():
    with pytest.raises(ConfigError, match='names no data'):
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
