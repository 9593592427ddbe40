# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmengine.config import Config

from tests.config.test_apply_norm import DEEPLAB, MASK_RCNN, MMDET, MMSEG
from tests.paths import CONFIG

TOOL = 'print_config.py'


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
def test_printed_text_is_the_config(succeeds, name, path):
    text = succeeds(TOOL, name)
    assert '_base_' not in text
    assert read(text) == Config.fromfile(path).to_dict()


def test_options_and_file(succeeds, fails, tmp_path):
    out = tmp_path / 'whole.py'
    options = ('--cfg-options', 'train_cfg.max_epochs=7')
    assert succeeds(TOOL, CONFIG, '--out', out, *options) == ''
    expected = Config.fromfile(CONFIG)
    expected.train_cfg.max_epochs = 7
    assert Config.fromfile(out).to_dict() == expected.to_dict()

    content = out.read_bytes()
    sentence = fails(TOOL, CONFIG, '--out', out)
    assert sentence.startswith(f'--out {str(out)!r} is there already')
    assert out.read_bytes() == content


@pytest.mark.parametrize(
    ('args', 'why'),
    [
        (['none.py'], "config 'none.py' does not exist or is not a file"),
        (['tools'], "config 'tools' does not exist or is not a file"),
        (['mmdet::none.py'], "config 'mmdet::none.py' does not exist or is"),
        (['none::x.py'], "config 'none::x.py': the package 'none' is not in"),
        (['a.b::x.py'], "config 'a.b::x.py': the package 'a.b' is not inst"),
        (['README.md'], "config 'README.md' cannot be read: "),
        ([CONFIG, '--out=whole.json'], "--out 'whole.json' has to end in .py"),
        ([CONFIG, '--out=no/whole.py'], "--out 'no/whole.py' cannot be writt"),
        ([CONFIG, '--cfg-options', 'a=[1,2'], "--cfg-options 'a=[1,2' is no"),
        ([CONFIG, '--cfg-options', 'modle.x=1'], '--cfg-options modle.x: no '),
    ],
)
def test_mistakes(fails, args, why):
    assert fails(TOOL, *args).startswith(why)


def test_defect_keeps_its_traceback(command, tmp_path, monkeypatch):
    (tmp_path / 'faulty.py').write_text("raise RuntimeError('a defect')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['faulty'])\n")
    with pytest.raises(RuntimeError, match='a defect'):
        command(TOOL, config)
