# Copyright (c) mmnorm contributors. All rights reserved.
"""Configs find the layers by name. Each test runs in a new process."""

import subprocess
import sys

import pytest

ORDERS = ('mmnorm mmdet mmseg', 'mmseg mmnorm mmdet', 'mmdet mmseg mmnorm')
ORDERS += ('mmpretrain mmnorm mmdet mmseg',)
BUILD = """
from mmengine.registry import DefaultScope
from mmcv.cnn import build_norm_layer
for scope in ('mmdet', 'mmseg', 'mmpretrain', 'mmengine'):
    with DefaultScope.overwrite_default_scope(scope):
        for name in {names}:
            layer = build_norm_layer(dict(type=name), 64)[1]
            module = type(layer).__module__
            assert module.startswith('mmnorm.layers.'), (scope, name, module)
"""


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize('order', ORDERS)
def test_bare_names_in_any_order_of_imports(order):
    imports = '\n'.join(f'import {package}' for package in order.split())
    run(f'{imports}\nimport mmnorm' + BUILD.format(names=['GN', 'BCN', 'SN']))


def test_scoped_names_need_no_import():
    names = ('BCN', 'BKN', 'BN', 'BRN', 'EvoNormB0', 'EvoNormS0', 'FRN')
    names += (
        'GN',
        'GW',
        'IC',
        'IN',
        'LN',
        'MABN',
        'MetaNorm',
        'SN',
        'SSN',
        'SyncBN',
    )
    run(BUILD.format(names=[f'mmnorm.{name}' for name in names]))


def test_scoped_hooks_and_transforms_need_no_import():
    run(
        'from mmengine.registry import HOOKS, TRANSFORMS, DefaultScope\n'
        'import mmdet, mmseg\n'
        "for scope in ('mmdet', 'mmseg'):\n"
        '    with DefaultScope.overwrite_default_scope(scope):\n'
        "        HOOKS.build(dict(type='mmnorm.ENormHook'))\n"
        "        name = 'mmnorm.AmplitudePhaseRecombination'\n"
        '        TRANSFORMS.build(dict(type=name))\n'
    )


def test_other_bare_names_stay_those_of_torch():
    run(
        'import mmnorm\n'
        'from mmcv.cnn import build_norm_layer\n'
        "for name in ('BN', 'IN', 'LN', 'SyncBN'):\n"
        '    layer = build_norm_layer(dict(type=name), 8)[1]\n'
        '    module = type(layer).__module__\n'
        "    assert not module.startswith('mmnorm.'), name\n"
    )


def test_reload_changes_nothing():
    run(
        'import importlib, mmnorm\n'
        'importlib.reload(mmnorm)\n' + BUILD.format(names=['GN', 'BCN', 'SN'])
    )


def test_custom_imports_of_a_config():
    run(
        'from mmengine.config import Config\n'
        'Config.fromstring(\'custom_imports = dict(imports=["mmnorm"], '
        "allow_failed_imports=False)', '.py')\n"
        + BUILD.format(names=['GN', 'BCN', 'SN'])
    )


def test_needs_only_torch_and_mmengine():
    run(
        'import sys\n'
        "for name in ('mmcv', 'mmdet', 'mmseg'):\n"
        '    sys.modules[name] = None\n'
        'import importlib.util as util\n'
        'find = util.find_spec\n'
        'util.find_spec = lambda name, *a: (\n'
        "    None if name == 'mmcv' else find(name, *a))\n"
        'import torch, mmnorm\n'
        'mmnorm.BCN(64)(torch.rand(1, 64, 2, 2))\n'
    )


def test_group_norm_of_torch_keeps_working():
    run(
        'import mmnorm, torch\n'
        'from mmcv.cnn import build_norm_layer\n'
        "name, layer = build_norm_layer(dict(type='GN', num_groups=4), 8)\n"
        "assert name == 'gn' and isinstance(layer, torch.nn.GroupNorm)\n"
    )
