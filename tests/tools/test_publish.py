# Copyright (c) mmnorm contributors. All rights reserved.
import os
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmseg.apis import init_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmnorm import BCN
from tests.paths import CONFIG, ROOT

TOOL = 'publish.py'
SEGMENTER = ROOT / (
    'configs/mini/deeplabv3_r18-d8_sn-all_1xb1-2k_mini-cityscapes.py'
)
CLASSES = tuple('0123456789')


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 32, 3), BCN(32))

    def forward(self, x: Tensor, mode: str = 'tensor') -> dict | Tensor:
        y = self.net(x)
        return dict(loss=(y - 1).square().mean()) if mode == 'loss' else y


class Images(Dataset):
    metainfo = dict(classes=('cat', 'dog'), palette=[(0, 0, 9), (9, 0, 0)])

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return dict(x=index + torch.rand(3, 6, 6))


@pytest.fixture
def trained(tmp_path) -> Iterator[tuple[Path, EMAHook, Net]]:
    """Train with a moving average of the weights.

    The fixture gives the checkpoint of mmengine, the hook that has the
    average, and the model.
    """
    dataset = Images()
    loader = DataLoader(dataset, 2, sampler=DefaultSampler(dataset))
    runner = Runner(
        Net(),
        str(tmp_path / 'work'),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        custom_hooks=[dict(type='EMAHook', momentum=0.5, update_buffers=True)],
        experiment_name='test_publish',
    )
    runner.train()
    hook = next(h for h in runner.hooks if isinstance(h, EMAHook))
    yield tmp_path / 'work/epoch_2.pth', hook, runner.model


@pytest.fixture
def publish(succeeds) -> Callable[[Path, Path], str]:
    """Publish a checkpoint, and return the output."""
    return partial(succeeds, TOOL)


def file_in(folder: Path, start: str) -> Path:
    (path,) = (p for p in folder.iterdir() if p.name.startswith(start))
    return path


def test_content(publish, trained, tmp_path):
    path, *_ = trained
    text = publish(path, tmp_path / 'net.pth')
    out = file_in(tmp_path, 'net')
    digits = sha256(out.read_bytes()).hexdigest()[:8]
    assert out.name == f'net-{digits}.pth'
    first, second, last = text.splitlines()
    assert first.startswith('dropped: ')
    assert 'optimizer' in first
    assert second == 'state_dict holds the moving average of the weights'
    assert last == f'wrote {out}'
    before = torch.load(path, weights_only=True)
    assert {'optimizer', 'message_hub', 'ema_state_dict'} <= before.keys()
    after = torch.load(out, weights_only=True)
    assert after.keys() == {'state_dict', 'meta'}
    assert after['meta'] == {
        'dataset_meta': Images.metainfo,
        'cfg': before['meta']['cfg'],
    }
    assert out.stat().st_size < path.stat().st_size / 2


def test_moving_average_bit_by_bit(publish, trained, tmp_path):
    path, hook, model = trained
    publish(path, tmp_path / 'net.pth')
    state = torch.load(file_in(tmp_path, 'net'), weights_only=True)
    average = hook.ema_model.module.state_dict()
    assert state['state_dict'].keys() == average.keys()
    for key, value in average.items():
        assert torch.equal(state['state_dict'][key], value)
    last = model.state_dict()['net.0.weight']
    assert not torch.equal(state['state_dict']['net.0.weight'], last)


def test_same_weights_have_the_same_name(publish, trained, tmp_path):
    path, *_ = trained
    for name in ('a', 'b'):
        publish(path, tmp_path / f'{name}.pth')
    a, b = file_in(tmp_path, 'a-'), file_in(tmp_path, 'b-')
    assert a.name[1:] == b.name[1:]
    assert a.read_bytes() == b.read_bytes()


def save(path: Path, config: Path, scope: str) -> dict[str, Tensor]:
    """Write a checkpoint of a model with random numbers."""
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(Config.fromfile(config).model)
    state = model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))
    meta = {'dataset_meta': {'classes': CLASSES, 'palette': None}, 'seed': 3}
    checkpoint = {'meta': meta, 'state_dict': state, 'optimizer': {}}
    torch.save(checkpoint, path)
    return state


def assert_equal(model: nn.Module, expected: dict[str, Tensor]) -> None:
    assert model.dataset_meta['classes'] == CLASSES
    assert model.state_dict().keys() == expected.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key])


def test_detector(publish, tmp_path):
    expected = save(tmp_path / 'in.pth', CONFIG, 'mmdet')
    publish(tmp_path / 'in.pth', tmp_path / 'out')
    out = str(file_in(tmp_path, 'out'))
    model = init_detector(str(CONFIG), out, device='cpu', palette='random')
    assert_equal(model, expected)
    inference_detector(model, np.zeros((64, 64, 3), np.uint8))


def test_segmenter(publish, tmp_path):
    expected = save(tmp_path / 'in.pth', SEGMENTER, 'mmseg')
    publish(tmp_path / 'in.pth', tmp_path / 'out')
    out = str(file_in(tmp_path, 'out'))
    model = init_model(str(SEGMENTER), out, device='cpu')
    assert_equal(model, expected)


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (None, 'does not exist'),
        ({'w': torch.ones(2)}, 'holds no state_dict'),
        ({'state_dict': 3}, 'holds no state_dict'),
    ],
)
def test_mistakes(fails, tmp_path, content, why):
    if content is not None:
        torch.save(content, tmp_path / 'in.pth')
    before = os.listdir(tmp_path)
    assert why in fails(TOOL, tmp_path / 'in.pth', tmp_path / 'out.pth')
    assert os.listdir(tmp_path) == before


def test_twice(publish, fails, tmp_path):
    torch.save({'state_dict': {'w': torch.ones(2)}}, tmp_path / 'in.pth')
    paths = (tmp_path / 'in.pth', tmp_path / 'out.pth')
    publish(*paths)
    assert 'is there already: name another' in fails(TOOL, *paths)
