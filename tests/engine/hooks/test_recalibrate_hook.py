# Copyright (c) mmnorm contributors. All rights reserved.
"""Recalibration in a run of mmengine: when, what is saved, what stays."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel, BaseTTAModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmnorm import BCN, RecalibrateHook, SyncBN
from mmnorm.precise.training_batches import recalibrate_on, training_data

MOMENTS = ('running_mean', 'running_var')
EPOCHS = dict(by_epoch=True, max_epochs=2)


@MODELS.register_module()
class RecalibrateNet(BaseModel):
    """Two norms, and some chance."""

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
    """Pictures, and a pipeline that draws and counts."""

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


def recorded(runner: Runner, function: str) -> list[dict[str, Tensor]]:
    """What the statistics of the model are each time a function starts."""
    seen = []
    old = getattr(runner.model, function)

    def record(*args, **kwargs):
        seen.append(moments(runner.model.state_dict()))
        return old(*args, **kwargs)

    setattr(runner.model, function, record)
    return seen


@pytest.fixture
def calls(monkeypatch) -> list[nn.Module]:
    """The models that were recalibrated."""
    from mmnorm.engine.hooks import recalibrate as module

    seen, real = [], module.recalibrate

    def recalibrate(model: nn.Module, batches: object) -> dict:
        batches = list(batches)
        assert len(batches) == 3  # all there are
        seen.append(model)
        return real(model, batches)

    monkeypatch.setattr(module, 'recalibrate', recalibrate)
    return seen


@pytest.mark.parametrize(
    ('train_cfg', 'checkpoints'),
    [
        (dict(by_epoch=True, max_epochs=2), ['epoch_1.pth', 'epoch_2.pth']),
        (
            dict(by_epoch=False, max_iters=4, val_interval=2),
            ['iter_2.pth', 'iter_4.pth'],
        ),
    ],
    ids=['epochs', 'iterations'],
)
def test_validated_and_saved_statistics_are_the_same(
    tmp_path, train_cfg, checkpoints, calls
):
    runner = make_runner(
        tmp_path,
        train_cfg=train_cfg,
        interval=1 if train_cfg['by_epoch'] else 2,
    )
    validated = recorded(runner, 'val_step')
    built = RecalibrateData.built
    runner.train()
    assert RecalibrateData.built == built + 2  # of training and validation
    assert len(calls) == 2
    assert len(validated) == 2
    for seen, name in zip(validated, checkpoints, strict=True):
        saved = moments(load(tmp_path / name))
        assert_same(saved, seen)
    assert not saved['layers.1.running_mean'].equal(torch.zeros(32))


@pytest.mark.parametrize('by_epoch', [True, False])
def test_weights_come_out_as_without_it(tmp_path, by_epoch):
    train_cfg = dict(by_epoch=True, max_epochs=2)
    sampler = {}
    if not by_epoch:
        train_cfg = dict(by_epoch=False, max_iters=6, val_interval=2)
        sampler = dict(type='InfiniteSampler')
    states = []
    for hook in (False, True):
        runner = make_runner(
            tmp_path / str(hook),
            hook=hook,
            train_cfg=train_cfg,
            train_dataloader=loader(**sampler),
        )
        states.append(runner.train().state_dict())
        assert runner.train_dataloader.dataset.drawn == 12
    without, with_it = states
    assert_same(rest(with_it), rest(without))
    for key, value in moments(with_it).items():
        assert not torch.allclose(value, without[key]), key


def test_training_goes_on_from_the_new_estimates(tmp_path):
    runner = make_runner(tmp_path, 'BCN')
    trained = recorded(runner, 'train_step')
    validated = recorded(runner, 'val_step')
    runner.train()
    assert_same(trained[3], validated[0])


@pytest.mark.parametrize('update_buffers', [False, True])
def test_averaged_model_is_recalibrated(tmp_path, update_buffers, calls):
    ema = dict(type='EMAHook', update_buffers=update_buffers, momentum=0.5)
    hook = dict(type='mmnorm.RecalibrateHook', num_batches=4)
    runner = make_runner(tmp_path, custom_hooks=[hook, ema])
    validated = recorded(runner, 'val_step')
    runner.train()
    (average,) = [h.ema_model for h in runner.hooks if hasattr(h, 'ema_model')]
    assert calls == [average.module] * 2
    for seen, epoch in zip(validated, (1, 2), strict=True):
        assert_same(moments(load(tmp_path / f'epoch_{epoch}.pth')), seen)


def test_training_without_validation(tmp_path, calls):
    nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner = make_runner(tmp_path, **nothing)
    runner.train()
    assert len(calls) == 1  # at its end
    saved = moments(load(tmp_path / 'epoch_2.pth'))
    assert_same(saved, moments(runner.model.state_dict()))


@pytest.mark.parametrize(
    ('val_interval', 'times'), [(1, 3), (2, 2), (3, 1), (5, 1)]
)
def test_as_often_as_it_validates(tmp_path, calls, val_interval, times):
    train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=val_interval)
    runner = make_runner(tmp_path, train_cfg=train_cfg)
    validated = recorded(runner, 'val_step')
    runner.train()
    assert len(calls) == len(validated) == times


def test_interval_that_changes(tmp_path, calls):
    train_cfg = dict(
        by_epoch=True, max_epochs=4, val_interval=3, dynamic_intervals=[(3, 1)]
    )
    runner = make_runner(tmp_path, train_cfg=train_cfg)
    validated = recorded(runner, 'val_step')
    runner.train()
    assert len(calls) == len(validated) == 3


def test_before_a_test(tmp_path, calls):
    make_runner(tmp_path, hook=False).train()
    path = tmp_path / 'epoch_2.pth'
    runner = make_runner(tmp_path, load_from=str(path))
    tested = recorded(runner, 'test_step')
    runner.test()
    assert len(calls) == 1
    (seen,) = tested
    state = load(path)
    assert_same(rest(runner.model.state_dict()), rest(state))
    for key, value in moments(state).items():
        assert not torch.allclose(seen[key], value), key


@pytest.mark.parametrize(
    ('train', 'why'),
    [(None, 'no train_dataloader'), ('not there', 'train2017/000.jpg')],
)
def test_test_without_training_data(tmp_path, caplog, train, why):
    make_runner(tmp_path, hook=False).train()
    path = tmp_path / 'epoch_2.pth'
    settings = dict(train_dataloader=loader(is_there=False))
    if train is None:
        settings = dict.fromkeys(
            ('train_dataloader', 'train_cfg', 'optim_wrapper')
        )
    runner = make_runner(tmp_path, load_from=str(path), **settings)
    runner.logger.addHandler(caplog.handler)
    tested = recorded(runner, 'test_step')
    with caplog.at_level(logging.WARNING):
        runner.test()
    assert 'running statistics stay as they are' in caplog.text
    assert why in caplog.text
    assert_same(tested[0], moments(load(path)))


class Several(BaseTTAModel):
    def test_step(self, data: dict) -> list:
        return self.module.test_step(data)

    def merge_preds(self, data_samples_list: list) -> None:
        raise NotImplementedError


def test_model_of_test_time_augmentation(tmp_path, calls):
    runner = make_runner(tmp_path)
    inner = runner.model
    runner.model = Several(inner)
    runner.test()
    assert calls == [inner]


def test_chance_is_that_of_seed_and_step(tmp_path):
    runner = make_runner(tmp_path)
    data = training_data(runner)
    seen = []
    for seed, step in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(seed)
        recalibrate_on(data, runner, runner.model, 2, step)
        seen.append(moments(runner.model.state_dict()))
    assert_same(seen[0], seen[1])
    assert not seen[2]['layers.1.running_mean'].equal(
        seen[0]['layers.1.running_mean']
    )
    assert data.drawn == 0  # a copy was


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match='num_batches=0: set it to 1 or more'):
        RecalibrateHook(0)
    data = DataLoader(RecalibrateData(4), batch_size=2)
    runner = make_runner(tmp_path, train_dataloader=data)
    with pytest.raises(TypeError, match='as a dict, not as a DataLoader'):
        runner.train()


def by_ranks(rank: int, folder: Path) -> dict[str, Tensor]:
    runner = make_runner(
        folder,
        'BatchNorm',
        launcher='none',
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    RecalibrateHook(4).before_val(runner)
    return moments(runner.model.state_dict())


def test_processes_agree(ranks, tmp_path):
    first, second = ranks(2).run(by_ranks, tmp_path)
    assert_same(first, second)
