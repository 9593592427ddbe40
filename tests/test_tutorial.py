# Copyright (c) mmnorm contributors. All rights reserved.
"""The norm of the tutorial is what the page says, and trains."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from .paths import ROOT

FILES = dict(
    re.findall(
        r'```python\n# (\S+\.py)\n(.*?)```',
        (ROOT / 'docs/tutorial.md').read_text(),
        re.DOTALL,
    )
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Make the folder of a user who has followed the page."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def test_the_norm_has_the_formula_of_the_page(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    importlib.import_module('my_norm')
    norm = MODELS.build(dict(type='RootMeanSquareNorm', num_features=6))
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    norm = norm.double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    mean_square = x.square().mean((1, 2, 3), keepdim=True)
    expected = x / (mean_square + 1e-5).sqrt() * norm.weight.view(6, 1, 1)
    expected = expected + norm.bias.view(6, 1, 1)
    torch.testing.assert_close(norm(x), expected)
    assert torch.autograd.gradcheck(norm, x)


def test_the_class_has_ten_lines_of_code():
    code = FILES['my_norm.py'].partition('@MODELS')[2].splitlines()
    lines = [line.strip() for line in code]
    assert len([n for n in lines if n and not n.startswith('#')]) == 10


def test_the_detector_trains(folder, options):
    result = subprocess.run(
        [
            sys.executable,
            ROOT / 'tools/train.py',
            'my_config.py',
            '--work-dir=work_dir',
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {'PYTHONPATH': f'{folder}:{ROOT}'},
    )
    assert result.returncode == 0, result.stderr
    assert 'coco/segm_mAP' in result.stdout
