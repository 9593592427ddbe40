# Copyright (c) mmnorm contributors. All rights reserved.
"""mmnorm uses only names that torch 2.1 has; the suite runs a newer torch.

``torch_names.txt`` lists the names. In ``make test-torch TORCH=2.1.2`` the
test of each name looks for it in that torch, so a name that the list lacks
has to be tried there before it gets its line.
"""

import ast
from pathlib import Path
from pkgutil import resolve_name

import pytest

from .paths import ROOT

NAMES = Path(__file__).with_name('torch_names.txt').read_text().split()
# mmnorm asks for it only from torch 2.6 on.
NEWER = {'torch.serialization.add_safe_globals'}


def read_names(code: str) -> set[str]:
    """Return the dotted names of torch in a file, such as torch.nn.Module."""
    tree = ast.parse(code)
    roots, found = {'torch': 'torch'}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] == 'torch':
                    found.add(alias.name)
                    roots |= {alias.asname: alias.name} if alias.asname else {}
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if node.module.split('.')[0] == 'torch':
                    name = f'{node.module}.{alias.name}'
                    found.add(name)
                    roots[alias.asname or alias.name] = name
    for node in ast.walk(tree):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id in roots:
            found.add('.'.join([roots[node.id], *reversed(names)]))
    return found


def test_every_name_has_its_line():
    files = (ROOT / 'mmnorm').rglob('*.py')
    used = set().union(*(read_names(path.read_text()) for path in files))
    assert used - NEWER == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_torch_has_the_name(name):
    resolve_name(name)


def test_finds_a_name_that_torch_lacks():
    code = 'from torch.utils import _pytree as tree\ntree.tree_sprouts({})'
    (found,) = read_names(code) - {'torch.utils._pytree'}
    assert found == 'torch.utils._pytree.tree_sprouts'
    with pytest.raises(AttributeError, match='tree_sprouts'):
        resolve_name(found)
