# Copyright (c) mmnorm contributors. All rights reserved.
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

import mmnorm  # noqa: F401  lets torch load checkpoints of mmengine


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('hostile',)


class MethodOfArray:
    def __reduce__(self):
        return getattr, (np.ndarray, 'tofile')


class InheritedOfHistoryBuffer:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__reduce_ex__')


def make_checkpoint() -> dict:
    hub = MessageHub.get_instance('test_safe_load')
    for value in (1.0, 0.5):
        hub.update_scalar('train/loss', value)
    hub.update_scalar('val/mAP', np.float64(0.25))
    hub.update_info('iter', 2)
    return {
        'state_dict': {'weight': torch.ones(2)},
        'message_hub': hub.state_dict(),
        'meta': {'seed': np.int64(3), 'when': np.float32(0.5)},
    }


def test_checkpoint_of_mmengine_loads_safely(tmp_path):
    torch.save(make_checkpoint(), tmp_path / 'epoch_1.pth')
    loaded = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == 0.75
    assert history.current() == 0.5
    assert loaded['meta'] == {'seed': 3, 'when': 0.5}


@pytest.mark.parametrize(
    'hostile', [Hostile, MethodOfArray, InheritedOfHistoryBuffer]
)
def test_hostile_checkpoint_is_refused(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(make_checkpoint() | {'extra': hostile()}, 'epoch_1.pth')
    with pytest.raises(pickle.UnpicklingError, match='GLOBAL'):
        torch.load('epoch_1.pth', weights_only=True)
    assert not os.path.exists('hostile')
