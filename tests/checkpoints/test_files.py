# Copyright (c) mmnorm contributors. All rights reserved.
import errno
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import mmnorm  # noqa: F401  names what a checkpoint may hold
from mmnorm.checkpoints import read_checkpoint, write_checkpoint
from mmnorm.checkpoints.files import to_bytes


class PicklerOfPython2(pickle._Pickler):
    """Writes text and bytes alike as the strings of Python 2."""

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


class Unknown:
    pass


BLOBS = {
    'conv1_w': np.random.default_rng(0).normal(size=(4, 3, 7, 7)).astype('f4'),
    'conv1_gn_s': np.ones(4, 'f4'),
}


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
        (pickle.dumps(BLOBS)[:-9], 'it is truncated, or no pickle'),
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


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    ('extra', 'asked'),
    [(Hostile(), 'posix.mkdir'), (Unknown(), f'{__name__}.Unknown')],
    ids=['hostile', 'unknown'],
)
def test_file_of_torch_is_refused(tmp_path, monkeypatch, zipped, extra, asked):
    monkeypatch.chdir(tmp_path)
    content = {'state_dict': {'w': torch.ones(2)}, 'extra': extra}
    torch.save(content, 'w.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f' asks for {asked} on loading'):
        read_checkpoint('w.pth')
    assert os.listdir() == ['w.pth']


@pytest.mark.parametrize(
    ('content', 'why'),
    [(None, 'does not exist'), (b'', r'\(0 bytes\)'), (b'hi', 'truncated')],
)
def test_files_that_cannot_be_read(tmp_path, content, why):
    for name in ('weights.pth', 'weights.pkl'):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=why):
            read_checkpoint(str(path))


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='holds a list'):
        read_checkpoint(str(tmp_path / 'w.pth'))


def test_written_and_read(tmp_path):
    checkpoint = {'state_dict': {'w': torch.randn(3)}, 'meta': {'a': 'b'}}
    write_checkpoint(checkpoint, tmp_path / 'w.pth')
    assert os.listdir(tmp_path) == ['w.pth']
    read = read_checkpoint(str(tmp_path / 'w.pth'))
    assert read['meta'] == {'a': 'b'}
    assert torch.equal(read['state_dict']['w'], checkpoint['state_dict']['w'])
    assert to_bytes(checkpoint) == (tmp_path / 'w.pth').read_bytes()


def test_never_over_a_file(tmp_path):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to('nowhere')
    for name in ('file', 'link'):
        with pytest.raises(ValueError, match='is there already'):
            write_checkpoint({}, tmp_path / name)
    assert (tmp_path / 'file').read_text() == 'mine'


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    write = Path.write_bytes

    def fill_disk(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', fill_disk)
    with pytest.raises(ValueError, match='cannot be written: No space left'):
        write_checkpoint({'w': torch.ones(9)}, tmp_path / 'w.pth')
    assert os.listdir(tmp_path) == []


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match='cannot be written: No such file'):
        write_checkpoint({}, tmp_path / 'none' / 'w.pth')
