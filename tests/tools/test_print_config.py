# Copyright (c) mmnorm contributors. All rights reserved.
import runpy
import sys

import pytest
from mmengine.config import Config

from tests.config.test_apply_norm import DEEPLAB, MASK_RCNN, MMDET, MMSEG
from tests.paths import CONFIG, ROOT


@pytest.fixture
def print_config(monkeypatch, capsys):
    """Run the tool; its exit status and what it says."""

    def run(*args: object) -> tuple[int, str]:
        argv = ['print_config.py', *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        status = 0
        try:
            runpy.run_path(
                str(ROOT / 'tools/print_config.py'), run_name='__main__'
            )
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return status, said.err if status else said.out

    return run


def read(text: str) -> dict:
    return Config.fromstring(text, '.py').to_dict()


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        (CONFIG, CONFIG),
        (f'mmdet::{MASK_RCNN.relative_to(MMDET)}', MASK_RCNN),
        (f'mmseg::{DEEPLAB.relative_to(MMSEG)}', DEEPLAB),
    ],
    ids=['ours', 'mmdet', 'mmseg'],
)
def test_what_is_printed_is_the_config(print_config, name, path):
    status, text = print_config(name)
    assert status == 0
    assert '_base_' not in text
    assert read(text) == Config.fromfile(path).to_dict()


def test_options_and_file(print_config, tmp_path):
    out = tmp_path / 'whole.py'
    setting = 'train_cfg.max_epochs=7'
    status, text = print_config(CONFIG, '--out', out, '--cfg-options', setting)
    assert (status, text) == (0, '')
    expected = Config.fromfile(CONFIG)
    expected.train_cfg.max_epochs = 7
    assert Config.fromfile(out).to_dict() == expected.to_dict()

    status, text = print_config(CONFIG, '--out', out)
    assert status == 1
    assert f'--out {str(out)!r} is there already' in text


@pytest.mark.parametrize(
    ('args', 'why'),
    [
        (['none.py'], "config 'none.py' does not exist or is not a file"),
        (['mmdet::none.py'], "config 'mmdet::none.py' does not exist or is"),
        (['none::x.py'], "config 'none::x.py': there is no package 'none'"),
        (['README.md'], "config 'README.md' cannot be read: "),
        ([CONFIG, '--out=whole.json'], "--out 'whole.json' has to end in .py"),
        ([CONFIG, '--out=no/whole.py'], "--out 'no/whole.py' cannot be writt"),
    ],
)
def test_mistakes(print_config, monkeypatch, args, why):
    monkeypatch.chdir(ROOT)
    status, text = print_config(*args)
    assert status == 1
    assert text.startswith(f'print_config.py: error: {why}')
    assert len(text.splitlines()) == 1
