# Copyright (c) mmnorm contributors. All rights reserved.
import runpy
from importlib import util
from pathlib import Path

import onnxruntime
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.models import make_model
from tests.paths import CONFIG, ROOT

MINI = {p.stem: p for p in (ROOT / 'configs/mini').glob('*_mini-c*.py')}
TOOL = 'export.py'
SEGMENTER = 'deeplabv3_r18-d8-ws_bcn-all_1xb1-2k_mini-cityscapes'


def save(name: str, folder: Path) -> tuple[nn.Module, Path]:
    model, path = make_model(f'mini/{name}').float(), folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return model, path


def assert_exports(name: str, folder: Path, succeeds, *options: str) -> None:
    (model, checkpoint), out = save(name, folder), folder / 'model.onnx'
    text = succeeds(TOOL, MINI[name], checkpoint, out, *options)
    last = text.splitlines()[-1]
    assert last.startswith(f'{out}: ')
    assert ' MB, off by ' in last
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
    session = onnxruntime.InferenceSession(out)
    outputs = session.run(None, {'image': x.numpy()})
    for actual, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(
            torch.from_numpy(actual), wanted, rtol=1e-4, atol=1e-4
        )


def test_segmenter_folded(succeeds, tmp_path):
    assert_exports(SEGMENTER, tmp_path, succeeds, '--fold')


@pytest.mark.slow  # a quarter of a minute each
@pytest.mark.parametrize('fold', [(), ('--fold',)], ids=['', 'folded'])
@pytest.mark.parametrize('name', MINI)
def test_every_mini_config(succeeds, tmp_path, name, fold):
    assert_exports(name, tmp_path, succeeds, *fold)


@pytest.mark.slow  # ten seconds each
@pytest.mark.parametrize('name', MINI)
@torch.no_grad()
def test_torch_export_and_trace(tmp_path, name):
    tool = runpy.run_path(str(ROOT / 'tools' / TOOL), run_name='export')
    network = tool['Network'](make_model(f'mini/{name}').float())
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


def test_a_file_that_is_there(fails, tmp_path):
    out = tmp_path / 'model.onnx'
    out.write_text('dear')
    sentence = fails(TOOL, CONFIG, tmp_path / 'none.pth', out)
    assert sentence.startswith(f'{str(out)!r} is there already')
    assert out.read_text() == 'dear'


@pytest.mark.parametrize(
    ('out', 'why'),
    [
        ('model.pt', 'has to end in .onnx'),
        ('no/model.onnx', 'is in a folder that does not exist'),
        ('model.onnx', "none.pth' does not exist"),
    ],
)
def test_bad_arguments(fails, tmp_path, out, why):
    assert why in fails(TOOL, CONFIG, tmp_path / 'none.pth', tmp_path / out)
    assert not list(tmp_path.iterdir())


def test_config_that_does_not_build(fails, tmp_path):
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    torch.save({'state_dict': {}}, checkpoint)
    out = tmp_path / 'model.onnx'
    config.write_text("model = dict(type='None')\n")
    sentence = fails(TOOL, config, checkpoint, out)
    start = f'config {str(config)!r} does not build a model: None is not in '
    assert sentence.startswith(start)
    config.write_text("model = dict(type='mmnorm.GN', num_features=32)\n")
    sentence = fails(TOOL, config, checkpoint, out)
    assert 'has a GN, which is neither a segmenter nor a detector' in sentence


def test_checkpoint_of_another_config(fails, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'w': torch.ones(3)}}, path)
    sentence = fails(TOOL, CONFIG, path, tmp_path / 'model.onnx')
    start = f'checkpoint {str(path)!r} does not fit the model of '
    assert sentence.startswith(start)
    assert 'unexpected key in source state_dict: w' in sentence


def test_without_the_packages(fails, tmp_path, monkeypatch):
    find = util.find_spec
    monkeypatch.setattr(
        util,
        'find_spec',
        lambda name, *args: (
            None if name.startswith('onnx') else find(name, *args)
        ),
    )
    out = tmp_path / 'model.onnx'
    sentence = fails(TOOL, CONFIG, tmp_path / 'none.pth', out)
    assert sentence.startswith('torch exports with onnx and onnxscript, whi')
    assert sentence.endswith('pip install onnx onnxscript')


class Small(nn.Module):
    """A network whose export takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def extract_feat(self, x):
        return (self.conv(x),)


@pytest.fixture
def small(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Write a config and a checkpoint of the small network."""
    monkeypatch.setitem(MODELS._module_dict, 'Small', Small)
    config, checkpoint = tmp_path / 'small.py', tmp_path / 'weights.pth'
    config.write_text("model = dict(type='Small')\n")
    torch.save({'state_dict': Small().state_dict()}, checkpoint)
    return config, checkpoint


def test_wrong_file_is_not_written(fails, tmp_path, small, monkeypatch):
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        'run',
        lambda *args: [y + 0.1 for y in run(*args)],
    )
    sentence = fails(TOOL, *small, tmp_path / 'model.onnx')
    assert 'differs from the model by 1.0e-01' in sentence
    assert not list(tmp_path.glob('model.onnx*'))


def test_without_onnxruntime(succeeds, tmp_path, small, monkeypatch):
    find = util.find_spec
    monkeypatch.setattr(
        util,
        'find_spec',
        lambda name, *args: (
            None if name == 'onnxruntime' else find(name, *args)
        ),
    )
    text = succeeds(TOOL, *small, tmp_path / 'model.onnx').strip()
    assert text.endswith('MB, not compared: onnxruntime is not installed')
    assert (tmp_path / 'model.onnx').is_file()


def test_defect_keeps_its_traceback(command, tmp_path, small, monkeypatch):
    def fail(self) -> None:
        raise RuntimeError('a defect')

    monkeypatch.setattr(Small, '__init__', fail)
    with pytest.raises(RuntimeError, match='a defect'):
        command(TOOL, *small, tmp_path / 'model.onnx')
