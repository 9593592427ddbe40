# Copyright (c) mmnorm contributors. All rights reserved.
"""The table of tools/check_data.py, its advice and its exit status."""

import pytest

from tests.paths import CONFIG

TOOL = 'check_data.py'


def test_all_found(command, options, mini_coco):
    status, out, err = command(TOOL, CONFIG, *options)
    assert (status, err) == (0, '')
    *lines, empty, last = out.splitlines()
    assert (empty, last) == ('', 'All found: the data are ready.')
    assert lines[0].split() == [
        *('split', 'type', 'what', 'path', 'status', 'details')
    ]
    cells = [line.split() for line in lines[1:]]
    found = ['found', '8', 'images,']
    ann_file = f'{mini_coco}/annotations/instances_train2017.json'
    assert cells[0][:-2] == [
        *('train', 'CocoDataset', 'annotations', ann_file, *found)
    ]
    assert [line[:3] for line in cells[1:]] == [
        ['train', 'CocoDataset', 'images'],
        ['val', 'CocoDataset', 'annotations'],
        ['val', 'CocoDataset', 'images'],
        ['val', 'CocoMetric', 'annotations'],
        ['test', 'CocoDataset', 'annotations'],
        ['test', 'CocoDataset', 'images'],
        ['test', 'CocoMetric', 'annotations'],
    ]
    # All columns begin where their names stand.
    for name, cell in (('path', '/'), ('status', 'found')):
        column = lines[0].index(name)
        assert all(line[column:].startswith(cell) for line in lines[1:])


def test_missing(command, options, tmp_path):
    roots = [
        f'{mode}_dataloader.dataset.data_root' for mode in ('val', 'test')
    ]
    none = [f'{root}={tmp_path}/mini_none' for root in roots]
    status, out, err = command(TOOL, CONFIG, *options, *none)
    assert (status, err) == (1, '')
    *lines, empty, last = out.splitlines()
    assert empty == ''
    assert last == (
        "See docs/data.md, section 'Mini data sets', for the data of val, test"
    )
    assert sum(line.endswith('missing') for line in lines) == 4


def test_section_of_a_data_set_of_mmdet(command, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "_base_ = 'mmdet::_base_/datasets/cityscapes_instance.py'\n"
        "default_scope = 'mmdet'\n"
    )
    root = f'data_root={tmp_path}/'
    leaf = 'train_dataloader.dataset.dataset'
    status, out, _ = command(TOOL, path, '--cfg-options', f'{leaf}.{root}')
    assert status == 1
    assert f'{tmp_path}/leftImg8bit/train/' in out
    assert "section 'Cityscapes'" in out


@pytest.mark.parametrize(
    ('option', 'why'),
    [
        ('train_dataloder.dataset.ann_file=a', "no 'train_dataloder'"),
        ('train_dataloader.datset.ann_file=a', "no 'datset'"),
        ('train_dataloader.dataset.0.ann_file=a', "no '0'"),
        ('train_datloader=a', "no 'train_datloader'"),
        ('train_dataloader.dataset.data_rot=a', "argument 'data_rot'"),
        ('train_dataloader.dataset.no_cfg.size=1', "argument 'no_cfg'"),
        ('train_dataloader.batch_size.x=a', 'batch_size is 1 and has no'),
        ('train_dataloader', 'is not of the form KEY=VALUE'),
        ('train_dataloader.dataset.type=Coco', "mmdet has no 'Coco'"),
    ],
)
def test_unknown_key(fails, option, why):
    assert why in fails(TOOL, CONFIG, '--cfg-options', option)


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        (None, 'does not exist'),
        ("_base_ = 'none.py'", 'cannot be read'),
        ('train_dataloader = dict(', 'cannot be read'),
        ('norm_cfg = dict()', 'names no data'),
    ],
)
def test_not_a_config_of_data(fails, tmp_path, text, why):
    path = tmp_path / 'config.py'
    if text is not None:
        path.write_text(text)
    assert why in fails(TOOL, path)


def test_defect_keeps_its_traceback(command, tmp_path, monkeypatch):
    (tmp_path / 'faulty.py').write_text("raise RuntimeError('a defect')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['faulty'])\n")
    with pytest.raises(RuntimeError, match='a defect'):
        command(TOOL, path)
