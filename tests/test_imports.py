# Copyright (c) mmnorm contributors. All rights reserved.
"""Imports of the package go down, from room to room, and never up."""

import ast
from pathlib import Path

import pytest

from .paths import ROOT

PACKAGE = ROOT / 'mmnorm'
# Each room may import the rooms of the lines above it, and itself.
FLOORS = (
    ('registry',),
    ('functional',),
    ('distributed',),
    ('layers',),
    ('precise', 'deploy', 'checkpoints', 'config'),
    ('engine',),
)
MODULES = sorted(PACKAGE.rglob('*.py'))


def floor_of(module: str) -> int:
    """Return the floor of ``mmnorm.room.module``."""
    room = module.split('.')[1]
    (floor,) = (i for i, names in enumerate(FLOORS) if room in names)
    return floor


def imports_of(path: Path) -> list[str]:
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
    room = own.split('.')[1]
    for module in imports_of(path):
        allowed = module.split('.')[1] == room
        allowed = allowed or floor_of(module) < floor_of(own)
        assert allowed, f'{path} imports {module}'


def test_imports_are_seen():
    found = imports_of(PACKAGE / 'layers/batch_statistics.py')
    assert 'mmnorm.distributed.all_reduce' in found
    assert 'mmnorm.layers.recomputation' in found
    assert floor_of('mmnorm.functional.normalize') < floor_of('mmnorm.layers')


def test_torch_distributed_has_one_user():
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
