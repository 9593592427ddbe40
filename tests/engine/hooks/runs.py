# Copyright (c) mmnorm contributors. All rights reserved.
"""A run of mmengine with two norms, for tests of hooks."""

from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmnorm import BCN, SyncBN

MOMENTS = ('running_mean', 'running_var')
EPOCHS = dict(by_epoch=True, max_epochs=2)


@MODELS.register_module()
class RecalibrateNet(BaseModel):
    """A network with two norms whose loss depends on random numbers."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        layers = dict(SyncBN=SyncBN, BCN=BCN, BatchNorm=nn.BatchNorm2d)
        norm = layers[norm]
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 1), norm(32), nn.Conv2d(32, 32, 1), norm(32)
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = torch.stack(inputs)
        if mode != 'loss':
            return [self.layers(x).mean()] * len(x)
        y = self.layers(x + torch.rand_like(x))
        return {'loss': y[:, :7].square().sum() + y.sum()}


@DATASETS.register_module()
class RecalibrateData(torch.utils.data.Dataset):
    """Images, and a pipeline that draws random numbers and counts calls."""

    built = 0

    def __init__(self, number: int, is_there: bool = True) -> None:
        RecalibrateData.built += 1
        if not is_there:
            raise FileNotFoundError('train2017/000.jpg')
        self.number, self.drawn = number, 0

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        self.drawn += 1
        generator = torch.Generator().manual_seed(i)
        x = torch.randn(3, 4, 4, generator=generator)
        return dict(inputs=(i + 1) * x + torch.rand(1))


@METRICS.register_module()
class RecalibrateMetric(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results.append(0.0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'number': len(results)}


def loader(number: int = 6, is_there: bool = True, **sampler) -> dict:
    return dict(
        dataset=dict(type=RecalibrateData, number=number, is_there=is_there),
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=True) | sampler,
        collate_fn=dict(type='pseudo_collate'),
    )


def make_runner(
    folder: Path,
    norm: str = 'SyncBN',
    hook: bool = True,
    train_cfg: dict | None = EPOCHS,
    interval: int = 1,
    **settings,
) -> Runner:
    hooks = [dict(type='mmnorm.RecalibrateHook', num_batches=4)] * hook
    torch.manual_seed(0)
    by_epoch = (train_cfg or EPOCHS)['by_epoch']
    settings = {
        'train_dataloader': loader(),
        'train_cfg': train_cfg,
        'optim_wrapper': dict(optimizer=dict(type='SGD', lr=1e-3)),
        'val_dataloader': loader(2),
        'val_cfg': dict(),
        'val_evaluator': dict(type=RecalibrateMetric),
        'test_dataloader': loader(2),
        'custom_hooks': hooks,
    } | settings
    return Runner(
        MODELS.build(dict(type=RecalibrateNet, norm=norm)),
        str(folder),
        test_cfg=dict(),
        test_evaluator=dict(type=RecalibrateMetric),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=interval, by_epoch=by_epoch
            )
        ),
        randomness=dict(seed=0),
        log_level='WARNING',
        **settings,
    )


def moments(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in state.items() if k.endswith(MOMENTS)}


def rest(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith(MOMENTS)}


def assert_same(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


def load(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def record_moments(runner: Runner, function: str) -> list[dict[str, Tensor]]:
    """Record the running statistics at each call of a model's function."""
    recorded = []
    old = getattr(runner.model, function)

    def record(*args, **kwargs):
        recorded.append(moments(runner.model.state_dict()))
        return old(*args, **kwargs)

    setattr(runner.model, function, record)
    return recorded
