# Copyright (c) mmnorm contributors. All rights reserved.
"""Imports of the package go down from level to level, and never up."""

import ast
from pathlib import Path

import pytest

from .paths import ROOT

PACKAGE = ROOT / 'mmnorm'
# A folder may import itself and the folders in the lines before it.
LEVELS = (
    ('registry',),
    ('functional',),
    ('distributed',),
    ('layers',),
    ('precise', 'deploy', 'checkpoints', 'config', 'transforms'),
    ('analysis',),
    ('engine', 'backbones'),
)
MODULES = sorted(PACKAGE.rglob('*.py'))


def find_level(module: str) -> int:
    """Return the level of ``mmnorm.folder.module``."""
    folder = module.split('.')[1]
    (level,) = (i for i, names in enumerate(LEVELS) if folder in names)
    return level


def read_imports(path: Path) -> list[str]:
    """Return the modules of the package that a file imports."""
    package, found = list(path.relative_to(ROOT).parent.parts), []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            levels = len(package) - node.level + 1
            base = package[:levels] if node.level else []
            module = '.'.join([*base, *filter(None, [node.module])])
            names = [f'{module}.{alias.name}' for alias in node.names]
            found += names if module == 'mmnorm' else [module]
    return [name for name in found if name.startswith('mmnorm.')]


@pytest.mark.parametrize(
    'path', [p for p in MODULES if p != PACKAGE / '__init__.py'], ids=str
)
def test_no_import_goes_up(path):
    own = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    folder = own.split('.')[1]
    for module in read_imports(path):
        allowed = module.split('.')[1] == folder
        allowed = allowed or find_level(module) < find_level(own)
        assert allowed, f'{path} imports {module}'


def test_reads_imports():
    found = read_imports(PACKAGE / 'layers/batch_statistics.py')
    assert 'mmnorm.distributed.all_reduce' in found
    assert 'mmnorm.layers.recomputation' in found
    functional = find_level('mmnorm.functional.normalize')
    assert functional < find_level('mmnorm.layers')


def test_torch_distributed_has_two_users():
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if 'torch.distributed' in path.read_text()
    }
    # The runner starts the process group and ends it.
    assert users == {'distributed', 'engine'}


def test_tools_are_few():
    files = [path for path in (ROOT / 'tools').iterdir() if path.is_file()]
    assert len(files) <= 16


def test_files_are_short():
    long = [p.name for p in MODULES if len(p.read_text().splitlines()) > 270]
    assert not long
