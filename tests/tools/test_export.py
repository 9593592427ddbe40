# Copyright (c) mmnorm contributors. All rights reserved.
import runpy
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path

import onnxruntime
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.models import make_model
from tests.paths import CONFIG, ROOT

MINI = {path.stem: path for path in (ROOT / 'configs/mini').glob('*.py')}
TOOL = 'export'
SEGMENTER = 'deeplabv3_r18-d8-ws_bcn-all_1xb1-2k_mini-cityscapes'


@pytest.fixture
def export(monkeypatch, capsys) -> Callable[..., str]:
    """Run tools/export.py; the last line of what it says."""

    def run(*args: object) -> str:
        argv = ['export.py', *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(ROOT)
        try:
            runpy.run_path(str(ROOT / 'tools/export.py'), run_name='__main__')
        except SystemExit as end:
            assert end.code == 1
            return capsys.readouterr().err.strip().splitlines()[-1]
        return capsys.readouterr().out.strip().splitlines()[-1]

    return run


def save(name: str, folder: Path) -> tuple[nn.Module, Path]:
    model, path = make_model(f'mini/{name}').float(), folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return model, path


def assert_exports(name: str, folder: Path, export, *options: str) -> None:
    (model, checkpoint), out = save(name, folder), folder / 'model.onnx'
    said = export(MINI[name], checkpoint, out, *options)
    assert said.startswith(f'{out}: ')
    assert ' MB, off by ' in said
    assert {path.name for path in folder.iterdir()} == {
        'weights.pth',
        'model.onnx',
    }
    x = torch.randn(1, 3, 72, 104)
    with torch.no_grad():
        expected = model.extract_feat(x)
        if hasattr(model, 'decode_head'):
            scores = model.decode_head(expected)
            expected = [
                nn.functional.interpolate(scores, x.shape[2:], mode='bilinear')
            ]
    said = onnxruntime.InferenceSession(out).run(None, {'image': x.numpy()})
    for actual, wanted in zip(said, expected, strict=True):
        torch.testing.assert_close(
            torch.from_numpy(actual), wanted, rtol=1e-4, atol=1e-4
        )


def test_segmenter_folded(export, tmp_path):
    assert_exports(SEGMENTER, tmp_path, export, '--fold')


@pytest.mark.slow  # a quarter of a minute each
@pytest.mark.parametrize('fold', [(), ('--fold',)], ids=['', 'folded'])
@pytest.mark.parametrize('name', MINI)
def test_every_mini_config(export, tmp_path, name, fold):
    assert_exports(name, tmp_path, export, *fold)


@pytest.mark.slow  # ten seconds each
@pytest.mark.parametrize('name', MINI)
@torch.no_grad()
def test_torch_export_and_trace(module, tmp_path, name):
    network = module.Network(make_model(f'mini/{name}').float())
    any_size = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    x, other = torch.randn(2, 3, 96, 128), torch.randn(1, 3, 160, 128)
    program = torch.export.export(network, (x,), dynamic_shapes=(any_size,))
    path = tmp_path / 'traced.pt'
    torch.jit.save(torch.jit.trace(network, x), path)
    traced = torch.jit.load(path)
    for exported, image in ((program.module(), other), (traced, x)):
        torch.testing.assert_close(
            exported(image), network(image), rtol=1e-3, atol=1e-3
        )


def test_a_file_that_is_there(export, tmp_path):
    out = tmp_path / 'model.onnx'
    out.write_text('dear')
    said = export(CONFIG, tmp_path / 'none.pth', out)
    assert f'{str(out)!r} is there already' in said
    assert out.read_text() == 'dear'


@pytest.mark.parametrize(
    ('out', 'why'),
    [
        ('model.pt', 'has to end in .onnx'),
        ('no/model.onnx', 'is no folder'),
        ('model.onnx', "none.pth' does not exist"),
    ],
)
def test_bad_arguments(export, tmp_path, out, why):
    said = export(CONFIG, tmp_path / 'none.pth', tmp_path / out)
    assert said.startswith('export.py: error: ')
    assert why in said
    assert not list(tmp_path.iterdir())


def test_config_that_does_not_build(export, tmp_path):
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    torch.save({'state_dict': {}}, checkpoint)
    out = tmp_path / 'model.onnx'
    config.write_text("model = dict(type='None')\n")
    said = export(config, checkpoint, out)
    assert f'the model of {str(config)!r} cannot be built: ' in said
    config.write_text("model = dict(type='mmnorm.GN', num_features=32)\n")
    said = export(config, checkpoint, out)
    assert 'has a GN, which is neither a segmenter nor a detector' in said


def test_checkpoint_of_another_config(export, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'w': torch.ones(3)}}, path)
    said = export(CONFIG, path, tmp_path / 'model.onnx')
    assert f'checkpoint {str(path)!r} is not of the model of ' in said
    assert 'unexpected key in source state_dict: w' in said


def test_without_the_packages(export, tmp_path, monkeypatch):
    find = util.find_spec
    monkeypatch.setattr(
        util,
        'find_spec',
        lambda name, *args: (
            None if name.startswith('onnx') else find(name, *args)
        ),
    )
    said = export(CONFIG, tmp_path / 'none.pth', tmp_path / 'model.onnx')
    assert 'onnx and onnxscript, which torch exports with, is not' in said
    assert said.endswith('pip install onnx onnxscript')


class Small(nn.Module):
    """Something to export in a second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def extract_feat(self, x):
        return (self.conv(x),)


@pytest.fixture
def small(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Config and checkpoint."""
    monkeypatch.setitem(MODELS._module_dict, 'Small', Small)
    config, checkpoint = tmp_path / 'small.py', tmp_path / 'weights.pth'
    config.write_text("model = dict(type='Small')\n")
    torch.save({'state_dict': Small().state_dict()}, checkpoint)
    return config, checkpoint


def test_what_differs_is_not_written(export, tmp_path, small, monkeypatch):
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        'run',
        lambda *args: [y + 0.1 for y in run(*args)],
    )
    said = export(*small, tmp_path / 'model.onnx')
    assert 'differs from the model by 1.0e-01' in said
    assert not list(tmp_path.glob('model.onnx*'))


def test_without_onnxruntime(export, tmp_path, small, monkeypatch):
    find = util.find_spec
    monkeypatch.setattr(
        util,
        'find_spec',
        lambda name, *args: (
            None if name == 'onnxruntime' else find(name, *args)
        ),
    )
    said = export(*small, tmp_path / 'model.onnx')
    assert said.endswith('MB, not compared: onnxruntime is not installed')
    assert (tmp_path / 'model.onnx').is_file()
