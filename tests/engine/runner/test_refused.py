# Copyright (c) mmnorm contributors. All rights reserved.
"""The tools refuse hostile checkpoints in one sentence."""

import pickle
import runpy
import sys

import pytest
import torch

from tests.paths import ROOT

from .test_safe_load import Hostile, MethodOfArray

# The tools check these keys first.
KEYS = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'test_dataloader',
    'test_cfg',
    'test_evaluator',
)


@pytest.fixture
def refusal(monkeypatch, tmp_path, capsys):
    """Run a tool that refuses a checkpoint, and return its sentence."""

    def run(name: str, *args: object) -> str:
        config = tmp_path / 'config.py'
        config.write_text('\n'.join(f'{key} = dict()' for key in KEYS))
        argv = [name, str(config), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        assert exit_info.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f'{name}: error: checkpoint ')
        return line

    return run


FORMATS = {
    'zip': torch.save,
    'old': lambda thing, path: torch.save(
        thing, path, _use_new_zipfile_serialization=False
    ),
    'pickle': lambda thing, path: path.write_bytes(pickle.dumps(thing)),
}


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('write', FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ('name', 'option'),
    [
        ('test.py', '{}'),
        ('train.py', '--resume={}'),
        ('train.py', '--cfg-options=load_from={}'),
        ('recalibrate.py', '{}'),
    ],
)
def test_hostile_checkpoint_is_refused(refusal, tmp_path, write, name, option):
    path = tmp_path / 'epoch_1.pth'
    write({'state_dict': {}, 'meta': {}, 'extra': Hostile()}, path)
    options = [option.format(path)]
    if name == 'recalibrate.py':
        options.append(tmp_path / 'out.pth')
    sentence = refusal(name, *options)
    if write is FORMATS['pickle']:  # torch stops at the protocol
        assert f'{str(path)!r} (80 bytes) cannot be read' in sentence
    else:
        assert f'{str(path)!r} asks for posix.mkdir on loading' in sentence
        assert 'it is refused' in sentence
    assert 'weights_only' not in sentence  # torch advises to load it unsafely
    assert not (tmp_path / 'hostile').exists()
    assert not (tmp_path / 'out.pth').exists()


def test_getattr_in_disguise_is_refused(refusal, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': {}, 'extra': MethodOfArray()}, path)
    assert 'asks for ndarray.tofile on loading' in refusal('test.py', path)
