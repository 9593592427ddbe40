# Copyright (c) mmnorm contributors. All rights reserved.
"""The table of tools/check_data.py, its advice and its exit status."""

import runpy
import sys

import pytest

from tests.paths import CONFIG, ROOT


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the command in this process: its exit status, stdout, stderr."""

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['check_data.py', *map(str, args)])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(
                str(ROOT / 'tools/check_data.py'), run_name='__main__'
            )
        return exit_info.value.code, *capsys.readouterr()

    return run


def test_all_found(check, options, mini_coco):
    code, out, err = check(CONFIG, *options)
    assert (code, err) == (0, '')
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
    # One table: all columns begin where their names stand.
    for name, cell in (('path', '/'), ('status', 'found')):
        column = lines[0].index(name)
        assert all(line[column:].startswith(cell) for line in lines[1:])


def test_missing(check, options, tmp_path):
    roots = [
        f'{mode}_dataloader.dataset.data_root' for mode in ('val', 'test')
    ]
    none = [f'{root}={tmp_path}/mini_none' for root in roots]
    code, out, err = check(CONFIG, *options, *none)
    assert (code, err) == (1, '')
    *lines, empty, last = out.splitlines()
    assert empty == ''
    assert last == (
        "See docs/data.md, section 'Mini data sets', for the data of val, test"
    )
    assert sum(line.endswith('missing') for line in lines) == 4


def test_what_mmdet_ships_names_its_section(check, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "_base_ = 'mmdet::_base_/datasets/cityscapes_instance.py'\n"
        "default_scope = 'mmdet'\n"
    )
    root = f'data_root={tmp_path}/'
    leaf = 'train_dataloader.dataset.dataset'
    code, out, _ = check(path, '--cfg-options', f'{leaf}.{root}')
    assert code == 1
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
        ('train_dataloader.dataset.type=Coco', "mmdet has no 'Coco'"),
    ],
)
def test_unknown_key(check, option, why):
    code, out, err = check(CONFIG, '--cfg-options', option)
    assert (code, out) == (1, '')
    assert len(err.splitlines()) == 1
    assert err.startswith('check_data.py: error: ')
    assert why in err


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        (None, 'does not exist'),
        ("_base_ = 'none.py'", 'cannot be read'),
        ('train_dataloader = dict(', 'cannot be read'),
        ('norm_cfg = dict()', 'names no data'),
    ],
)
def test_config_that_is_none(check, tmp_path, text, why):
    path = tmp_path / 'config.py'
    if text is not None:
        path.write_text(text)
    code, out, err = check(path)
    assert (code, out) == (1, '')
    assert len(err.splitlines()) == 1
    assert err.startswith('check_data.py: error: ')
    assert why in err
