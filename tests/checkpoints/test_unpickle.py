# Copyright (c) mmnorm contributors. All rights reserved.
"""Files load without running code, or are refused in one sentence."""

import io
import os
import pickle
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR

import mmnorm  # noqa: F401  lets torch load checkpoints of mmengine
from mmnorm.checkpoints import read_checkpoint, unpickle
from mmnorm.checkpoints.unpickle import load_torch


class PicklerOfPython2(pickle._Pickler):
    """A pickler that writes text and bytes as the strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        if isinstance(text, str):
            text = text.encode('latin1')
        self.write(pickle.BINSTRING + struct.pack('<i', len(text)) + text)
        self.memoize(text)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('hostile',)


class MethodOfArray:
    def __reduce__(self):
        return getattr, (np.ndarray, 'tofile')


class Unknown:
    pass


BLOBS = {
    'conv1_w': np.random.default_rng(0).normal(size=(4, 3, 7, 7)).astype('f4'),
    'conv1_gn_s': np.ones(4, 'f4'),
}


@pytest.fixture(params=[True, False], ids=['torch 2.6', 'older torch'])
def any_torch(request, monkeypatch):
    """Load as the installed torch does, and as torch before 2.6 does."""
    safe = unpickle.TORCH_IS_SAFE and request.param
    monkeypatch.setattr(unpickle, 'TORCH_IS_SAFE', safe)


def to_bytes(content: object, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def checkpoint_of_mmengine() -> dict:
    linear = torch.nn.Linear(2, 2)
    # Each process has the same bytes, and damages the same of them.
    torch.nn.init.constant_(linear.weight, 0.3)
    torch.nn.init.constant_(linear.bias, -2)
    optimizer = torch.optim.SGD(linear.parameters(), 0.1)
    scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=8)
    return {
        'param_schedulers': [scheduler.state_dict()],
        'state_dict': linear.state_dict(),
        'parameter': linear.weight,
        'half': torch.ones(2).half(),
        'history': HistoryBuffer([1.0, 2.0], [1, 1]),
        'meta': {'seed': np.int64(3), 'when': np.float32(0.5)},
    }


@pytest.mark.parametrize('mmap', [True, False])
@pytest.mark.parametrize('zipped', [True, False])
def test_checkpoint_of_mmengine(tmp_path, any_torch, zipped, mmap):
    path = tmp_path / 'epoch_1.pth'
    content = checkpoint_of_mmengine()
    path.write_bytes(to_bytes(content, zipped))
    loaded = load_torch(str(path), mmap)
    assert loaded.keys() == content.keys()
    assert loaded['state_dict']['weight'].equal(content['parameter'])
    assert loaded['parameter'].equal(content['parameter'])
    assert loaded['half'].dtype is torch.float16
    assert loaded['history'].mean() == 1.5
    (scheduler,) = loaded['param_schedulers']
    assert scheduler['anneal_func'](0.0, 1.0, 0.5) == 0.5
    assert loaded['meta'] == {'seed': 3, 'when': 0.5}


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    ('extra', 'asked'),
    [
        (Hostile(), 'posix.mkdir'),
        (MethodOfArray(), 'ndarray.tofile'),
        (Unknown(), f'{__name__}.Unknown'),
    ],
    ids=['hostile', 'method of array', 'unknown'],
)
def test_file_of_torch_is_refused(
    tmp_path, monkeypatch, any_torch, zipped, extra, asked
):
    monkeypatch.chdir(tmp_path)
    content = {'state_dict': {'w': torch.ones(2)}, 'extra': extra}
    Path('w.pth').write_bytes(to_bytes(content, zipped))
    with pytest.raises(ValueError, match=f' asks for {asked} on loading, '):
        read_checkpoint('w.pth')
    assert os.listdir() == ['w.pth']


def test_pickle_of_detectron(tmp_path):
    path = tmp_path / 'R-50-GN.pkl'
    with path.open('wb') as file:
        content = {'blobs': BLOBS, 'cfg': 'MODEL:\n  DEPTH: 50\n'}
        PicklerOfPython2(file, protocol=2).dump(content)
    read = read_checkpoint(str(path))
    assert read.keys() == BLOBS.keys()
    for name, blob in BLOBS.items():
        assert read[name].numpy().dtype == blob.dtype
        np.testing.assert_array_equal(read[name].numpy(), blob)


@pytest.mark.parametrize('protocol', [2, 4])
def test_pickle_of_python_3(tmp_path, protocol):
    path = tmp_path / 'R-50-GN.pkl'
    path.write_bytes(pickle.dumps(BLOBS, protocol))
    read = read_checkpoint(str(path))
    np.testing.assert_array_equal(read['conv1_w'].numpy(), BLOBS['conv1_w'])


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (pickle.dumps({'blobs': {'w': Hostile()}}), 'asks for posix.mkdir on'),
        (pickle.dumps(BLOBS)[:-9], 'it is truncated, or not a pickle'),
        (b'', r'\(0 bytes\) cannot be read'),
        (pickle.dumps([1, 2]), 'holds no arrays of Detectron'),
        (pickle.dumps({'blobs': {'w': 1.0}}), 'holds no arrays of Detectron'),
    ],
    ids=['hostile', 'truncated', 'empty', 'list', 'numbers'],
)
def test_pickles_that_are_refused(tmp_path, monkeypatch, content, why):
    monkeypatch.chdir(tmp_path)
    Path('weights.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=why) as error:
        read_checkpoint('weights.pkl')
    assert str(error.value).startswith("checkpoint 'weights.pkl' ")
    assert os.listdir() == ['weights.pkl']


@pytest.mark.parametrize(
    ('content', 'why'),
    [(None, 'does not exist'), (b'', r'\(0 bytes\)'), (b'hi', 'truncated')],
)
@pytest.mark.parametrize('name', ['weights.pth', 'weights.pkl'])
def test_files_that_cannot_be_read(tmp_path, name, content, why):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_checkpoint(str(path))


def test_file_without_permission(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, 'Permission denied')

    (tmp_path / 'w.pth').touch()
    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(ValueError, match=r'cannot be read: Permission denied'):
        read_checkpoint(str(tmp_path / 'w.pth'))


def test_list_is_no_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='holds a list and no state_dict'):
        read_checkpoint(str(tmp_path / 'w.pth'))


FILES = {
    'zip': ('w.pth', to_bytes(checkpoint_of_mmengine(), True)),
    'old format': ('w.pth', to_bytes(checkpoint_of_mmengine(), False)),
    'Detectron': ('w.pkl', pickle.dumps({'w': np.ones((3, 4), 'f4')}, 2)),
    'Python 3': ('w.pkl', pickle.dumps({'w': np.ones((3, 4), 'f4')}, 4)),
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Truncate a file, or overwrite, remove or repeat some of its bytes."""
    start, other = (rng.randrange(len(content)) for _ in range(2))
    end = start + rng.randrange(1, 40)
    middle = rng.choice(
        [rng.randbytes(end - start), content[other : other + end - start], b'']
    )
    return content[:start] + middle + rng.choice([content[end:], b''])


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('name', FILES)
def test_damaged_files_end_in_a_sentence(tmp_path, any_torch, name):
    rng, errors = random.Random(0), 0
    file_name, content = FILES[name]
    path = str(tmp_path / file_name)
    for _ in range(200):
        Path(path).write_bytes(damaged(content, rng))
        try:
            read_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(f'checkpoint {path!r} ')
            errors += 1
    assert errors > 150


def test_damaged_index_takes_no_memory(tmp_path):
    content = pickle.dumps({'w': np.ones((3, 4), 'f4')}, 2)
    first = content.index(b'q\x00')  # puts an object at index 0
    large = b'r' + struct.pack('<I', 2**26)
    path = tmp_path / 'w.pkl'
    path.write_bytes(content[:first] + large + content[first + 2 :])
    tracemalloc.start()
    try:
        read_checkpoint(str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**7


class DamagedDtype:
    """A number of four bytes that says it has others."""

    def __init__(self, *state: object) -> None:
        self.state = state

    def __reduce__(self) -> tuple:
        return np.dtype, ('f4', False, True), (3, '<', *self.state)


@pytest.mark.parametrize(
    'state',
    [
        (None, None, None, -1, -1, 63),  # a pointer to an object
        (None, None, None, 400, -1, 0),
        (None, None, None, -1, 3, 0),
        (None, ('a',), {'a': (np.dtype('f8'), 0)}, -1, -1, 0),
    ],
    ids=['flags', 'size', 'alignment', 'fields'],
)
def test_damaged_dtype_never_reaches_numpy(tmp_path, state):
    path = tmp_path / 'w.pkl'
    content = {'w': np.ones(3, 'f4'), 'dtype': DamagedDtype(*state)}
    path.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ValueError, match=r'damaged state of float32'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('error', [NameError, ImportError, ZeroDivisionError])
def test_other_exceptions_keep_their_traceback(tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error('a defect')

    torch.save({'w': torch.ones(1)}, tmp_path / 'w.pth')
    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(error, match='a defect'):
        read_checkpoint(str(tmp_path / 'w.pth'))
