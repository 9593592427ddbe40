# Copyright (c) mmnorm contributors. All rights reserved.
"""Files that are no configs get a sentence; defects keep a traceback."""

from pathlib import Path

import pytest

from mmnorm.config.errors import ConfigError
from mmnorm.config.files import find_config, read_config

BASE = 'a = dict(b=1)\nmodel = dict(x=dict(y=1))\n'


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a config beside a base, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'base.py').write_text(BASE)

    def run(text: str | bytes, name: str = 'config.py') -> str:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return name

    return run


def test_find_a_config_by_path_and_by_package(write):
    assert find_config('base.py') == Path('base.py')
    path = find_config('mmdet::_base_/default_runtime.py')
    assert path.is_file()
    assert path.parts[-4:-2] == ('.mim', 'configs')


@pytest.mark.parametrize(
    ('name', 'why'),
    [
        ('none.py', 'does not exist or is not a file'),
        ('.', 'does not exist or is not a file'),
        ('', 'does not exist or is not a file'),
        ('mmdet::none.py', 'does not exist or is not a file'),
        ('none::x.py', "the package 'none' is not installed"),
        ('none.none::x.py', "the package 'none.none' is not installed"),
    ],
)
def test_configs_that_are_not_there(write, name, why):
    for read in (find_config, read_config):
        with pytest.raises(ConfigError) as info:
            read(name)
        assert str(info.value).startswith(f'config {name!r}')
        assert str(info.value).endswith(why)


def test_read_and_override(write):
    name = write("_base_ = 'base.py'\nc = 2\n")
    cfg = read_config(name, {'a.b': 3, 'model.z': 4})
    assert cfg.to_dict() == dict(
        a=dict(b=3), model=dict(x=dict(y=1), z=4), c=2
    )


@pytest.mark.parametrize(
    ('name', 'text', 'why'),
    [
        ('a.py', 'x = (', "'(' was never closed in line 1"),
        ('b.py', "_base_ = 'none.py'", 'No such file or directory: '),
        ('c.py', "_base_ = 'foo::a/x.py'", 'does not support to load foo con'),
        ('d.py', "_base_ = ['base.py', './base.py']", 'Duplicate key is not'),
        ('e.py', "_base_ = 'base.py'\na = dict(b={})", 'cannot inherit from'),
        ('f.py', 'filename = 3', 'filename is reserved for config file'),
        ('g.py', b'\x80\xff', "'utf-8' codec can't decode byte 0x80"),
        ('h.py', b'a = 1\x00', 'source code string cannot contain null byte'),
        ('i.json', '{', 'Expecting property name enclosed in double quotes'),
        ('j.yml', 'a: [', 'while parsing a flow node did not find'),
        ('k.txt', 'a = 1', 'Only py/yml/yaml/json type are supported'),
        (
            'l.py',
            "custom_imports = dict(imports=['nowhere'])",
            "custom_imports: No module named 'nowhere'",
        ),
        (
            'm.py',
            'a = 1\nb = nrom_cfg',
            "line 2 of '{folder}/m.py' raises NameError: name 'nrom_cfg' is",
        ),
        (
            'n.py',
            "_base_ = 'base.py'\nb = _base_.model.z",
            "line 2 of '{folder}/n.py' raises AttributeError: 'ConfigDict'",
        ),
    ],
)
def test_files_that_are_no_configs(write, tmp_path, name, text, why):
    name = write(text, name)
    with pytest.raises(ConfigError) as info:
        read_config(name)
    sentence = str(info.value)
    assert sentence.startswith(f'config {name!r} cannot be read: ')
    assert why.replace('{folder}', str(tmp_path)) in sentence
    assert '\n' not in sentence


@pytest.mark.parametrize(
    ('code', 'error'),
    [
        ("raise RuntimeError('a defect')", RuntimeError),
        ('from json import nothing', ImportError),
        ('def f(:', SyntaxError),
    ],
)
def test_defects_in_imported_code_keep_their_traceback(write, code, error):
    module = f'defect_{error.__name__}'
    write(code, f'{module}.py')
    name = write(f"custom_imports = dict(imports=['{module}'])")
    with pytest.raises(error) as info:
        read_config(name)
    assert not isinstance(info.value, ConfigError)
