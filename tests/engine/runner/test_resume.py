# Copyright (c) mmnorm contributors. All rights reserved.
"""A resumed run ends as an uninterrupted run; averages are saved."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

import mmnorm


@MODELS.register_module()
class CheckpointNet(BaseModel):
    """A network with every layer of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(mmnorm.ConvWS(3, 32, 3), mmnorm.BCN(32), nn.Conv2d(32, 32, 1)),
            *(mmnorm.SN(32), nn.Conv2d(32, 32, 1), mmnorm.SyncBN(32)),
            *(nn.Conv2d(32, 32, 1), mmnorm.BCN(32, estimate=False)),
            *(nn.Conv2d(32, 32, 1), mmnorm.GN(32)),
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        y = self.layers(torch.stack(inputs))
        return {'loss': (y - torch.rand_like(y)).square().mean()}


def make_runner(folder: Path, **settings) -> Runner:
    torch.manual_seed(len(str(folder)))  # the result must not depend on it
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 6, 7, generator=generator)
    cfg = dict(
        model=dict(type='CheckpointNet'),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[dict(inputs=image) for image in images],
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
        custom_hooks=[
            dict(type='mmnorm.RepeatableHook'),
            dict(
                type='EMAHook',
                ema_type='ExponentialMovingAverage',
                momentum=0.3,
                update_buffers=True,
            ),
        ],
        randomness=dict(seed=0),
        log_level='WARNING',
    )
    return Runner(cfg=Config(), **cfg | settings)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def assert_same(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for two epochs with averaged weights, and return the folder."""
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ
    folder = tmp_path_factory.mktemp('whole')
    make_runner(folder).train()
    return folder


def test_resumed_run_ends_as_an_uninterrupted_run(trained, tmp_path):
    start = str(trained / 'epoch_1.pth')
    make_runner(tmp_path, load_from=start, resume=True).train()
    whole, resumed = (
        load(folder / 'epoch_2.pth') for folder in (trained, tmp_path)
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert_same(resumed[part], whole[part])
    assert 'message_hub' in whole


def test_averages_include_statistics(trained):
    # mmengine saves the averages as state_dict, because it evaluates them.
    checkpoint = load(trained / 'epoch_2.pth')
    averages = checkpoint['state_dict']
    weights = checkpoint['ema_state_dict']
    assert weights.keys() - {'steps'} == {f'module.{key}' for key in averages}
    for i, name in ((1, 'bn.running_mean'), (3, 'running_var'), (5, 'weight')):
        key = f'layers.{i}.{name}'
        assert averages[key].isfinite().all()
        assert not averages[key].equal(weights[f'module.{key}']), key


def test_load_from_takes_the_averages(trained, tmp_path):
    path = trained / 'epoch_2.pth'
    runner = make_runner(tmp_path, load_from=str(path))
    runner.call_hook('before_run')
    runner.load_or_resume()
    assert_same(runner.model.state_dict(), load(path)['state_dict'])
