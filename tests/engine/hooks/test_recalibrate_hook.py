# Copyright (c) mmnorm contributors. All rights reserved.
"""Recalibration in a run of mmengine: when, what is saved, what stays."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmnorm import RecalibrateHook
from mmnorm.precise import training_batches
from mmnorm.precise.training_batches import recalibrate_on, training_data

from .runs import (
    RecalibrateData,
    assert_same,
    load,
    loader,
    make_runner,
    moments,
    record_moments,
    rest,
)


@pytest.fixture
def calls(monkeypatch) -> list[nn.Module]:
    """Record the models that are recalibrated."""
    models, real = [], training_batches.recalibrate

    def recalibrate(model: nn.Module, batches: object) -> dict:
        batches = list(batches)
        assert len(batches) == 3  # the whole data set
        models.append(model)
        return real(model, batches)

    monkeypatch.setattr(training_batches, 'recalibrate', recalibrate)
    return models


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
    validated = record_moments(runner, 'val_step')
    built = RecalibrateData.built
    runner.train()
    assert RecalibrateData.built == built + 2  # training and validation
    assert len(calls) == 2
    assert len(validated) == 2
    for seen, name in zip(validated, checkpoints, strict=True):
        saved = moments(load(tmp_path / name))
        assert_same(saved, seen)
    assert not saved['layers.1.running_mean'].equal(torch.zeros(32))


@pytest.mark.parametrize('by_epoch', [True, False])
def test_weights_are_those_without_the_hook(tmp_path, by_epoch):
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
    without_hook, with_hook = states
    assert_same(rest(with_hook), rest(without_hook))
    for key, value in moments(with_hook).items():
        assert not torch.allclose(value, without_hook[key]), key


def test_training_continues_from_the_new_estimates(tmp_path):
    runner = make_runner(tmp_path, 'BCN')
    trained = record_moments(runner, 'train_step')
    validated = record_moments(runner, 'val_step')
    runner.train()
    assert_same(trained[3], validated[0])


@pytest.mark.parametrize('update_buffers', [False, True])
def test_averaged_model_is_recalibrated(tmp_path, update_buffers, calls):
    ema = dict(type='EMAHook', update_buffers=update_buffers, momentum=0.5)
    hook = dict(type='mmnorm.RecalibrateHook', num_batches=4)
    runner = make_runner(tmp_path, custom_hooks=[hook, ema])
    validated = record_moments(runner, 'val_step')
    runner.train()
    (average,) = [h.ema_model for h in runner.hooks if hasattr(h, 'ema_model')]
    assert calls == [average.module] * 2
    for seen, epoch in zip(validated, (1, 2), strict=True):
        assert_same(moments(load(tmp_path / f'epoch_{epoch}.pth')), seen)


def test_training_without_validation(tmp_path, calls):
    nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner = make_runner(tmp_path, **nothing)
    runner.train()
    assert len(calls) == 1  # at the end
    saved = moments(load(tmp_path / 'epoch_2.pth'))
    assert_same(saved, moments(runner.model.state_dict()))


@pytest.mark.parametrize(
    ('val_interval', 'number'), [(1, 3), (2, 2), (3, 1), (5, 1)]
)
def test_once_per_validation(tmp_path, calls, val_interval, number):
    train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=val_interval)
    runner = make_runner(tmp_path, train_cfg=train_cfg)
    validated = record_moments(runner, 'val_step')
    runner.train()
    assert len(calls) == len(validated) == number


def test_interval_that_changes(tmp_path, calls):
    train_cfg = dict(
        by_epoch=True, max_epochs=4, val_interval=3, dynamic_intervals=[(3, 1)]
    )
    runner = make_runner(tmp_path, train_cfg=train_cfg)
    validated = record_moments(runner, 'val_step')
    runner.train()
    assert len(calls) == len(validated) == 3


def test_before_a_test(tmp_path, calls):
    make_runner(tmp_path, hook=False).train()
    path = tmp_path / 'epoch_2.pth'
    runner = make_runner(tmp_path, load_from=str(path))
    tested = record_moments(runner, 'test_step')
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
    tested = record_moments(runner, 'test_step')
    with caplog.at_level(logging.WARNING):
        runner.test()
    assert 'running statistics stay as they are' in caplog.text
    assert why in caplog.text
    assert_same(tested[0], moments(load(path)))


class OneView(BaseTTAModel):
    def test_step(self, data: dict) -> list:
        return self.module.test_step(data)

    def merge_preds(self, data_samples_list: list) -> None:
        raise NotImplementedError


def test_model_of_test_time_augmentation(tmp_path, calls):
    runner = make_runner(tmp_path)
    inner = runner.model
    runner.model = OneView(inner)
    runner.test()
    assert calls == [inner]


def test_seed_and_step_determine_the_random_numbers(tmp_path):
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
    assert data.drawn == 0  # a copy drew


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match='set num_batches to 1 or more'):
        RecalibrateHook(0)
    data = DataLoader(RecalibrateData(4), batch_size=2)
    runner = make_runner(tmp_path, train_dataloader=data)
    with pytest.raises(TypeError, match='as a dict, not as a DataLoader'):
        runner.train()


def recalibrated_by(rank: int, folder: Path) -> dict[str, Tensor]:
    runner = make_runner(
        folder,
        'BatchNorm',
        launcher='none',
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    RecalibrateHook(4).before_val(runner)
    return moments(runner.model.state_dict())


def test_processes_agree(ranks, tmp_path):
    first, second = ranks(2).run(recalibrated_by, tmp_path)
    assert_same(first, second)
