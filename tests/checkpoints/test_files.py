# Copyright (c) mmnorm contributors. All rights reserved.
import errno
import os
from pathlib import Path

import pytest
import torch

from mmnorm.checkpoints import read_checkpoint, write_checkpoint
from mmnorm.checkpoints.files import to_bytes


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


def test_whole_file_or_nothing(tmp_path, monkeypatch):
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
