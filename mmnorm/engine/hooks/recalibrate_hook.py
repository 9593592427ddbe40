# Copyright (c) mmnorm contributors. All rights reserved.
"""Exact running statistics before validation and test."""

import logging

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
)
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmnorm.precise.training_batches import recalibrate_on, training_data
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class RecalibrateHook(Hook):
    """A hook that makes running statistics exact before an evaluation.

    The hook calls :func:`mmnorm.precise.recalibrate`, which is PreciseBN,
    with batches of the training data.

    - The hook recalibrates before each validation, before the checkpoint of
      the same step is saved, and at the end of training. The checkpoint of a
      step without validation holds the statistics of training.
    - The hook recalibrates before a test if the training data exists.
    - Training keeps the new statistics, as with PreciseBN of fvcore. Norms of
      batch statistics do not read them in training, so the weights come out
      as without the hook. An estimated BCN continues from the new statistics.
    - With EMAHook the hook recalibrates the averaged model, because mmengine
      evaluates that model.

    Args:
        num_batches: Training batches per process.

    Raises:
        ValueError: If ``num_batches`` is less than 1.
        TypeError: If ``train_dataloader`` is an object instead of a config.

    Example::

        custom_hooks = [dict(type='mmnorm.RecalibrateHook', num_batches=200)]
    """

    # The hook runs after weights are averaged and estimates are moved, and
    # before checkpoints are saved.
    priority = 'LOW'

    def __init__(self, num_batches: int = 200) -> None:
        if num_batches < 1:
            raise ValueError(
                f'RecalibrateHook.num_batches={num_batches}: set num_batches '
                'to 1 or more'
            )
        self.num_batches = num_batches
        self.dataset: Dataset | None = None
        self.step = 0
        self.recalibrated_step: int | None = None

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner._train_dataloader, DataLoader):
            raise TypeError(
                'RecalibrateHook builds its own data loader: give '
                'train_dataloader as a dict, not as a DataLoader'
            )
        self.dataset = runner.train_dataloader.dataset
        self.step = runner.iter

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self.step = runner.iter + 1
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and _validates_after(
            self.step, loop.max_iters, runner
        ):
            self._recalibrate(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and _validates_after(
            loop.epoch + 1, loop.max_epochs, runner
        ):
            self._recalibrate(runner)

    def before_val(self, runner: Runner) -> None:
        # Other loops, and intervals that change, end up here.
        if self.recalibrated_step != self.step:
            self._recalibrate(runner)

    def before_test(self, runner: Runner) -> None:
        self._recalibrate(runner)

    def _recalibrate(self, runner: Runner) -> None:
        self.recalibrated_step = self.step
        if self.dataset is None:
            self.dataset = _find_training_data(runner)
        if self.dataset is None:
            return
        model = source = _unwrapped(runner.model)
        averages = [h for h in runner.hooks if isinstance(h, EMAHook)]
        for hook in averages:
            model = _unwrapped(hook.ema_model.module)
        changes = recalibrate_on(
            self.dataset, runner, model, self.num_batches, self.step
        )
        for hook in averages:
            if not hook.ema_model.update_buffers:
                # mmengine evaluates averaged weights with these buffers.
                for old, new in zip(
                    source.buffers(), model.buffers(), strict=True
                ):
                    old.copy_(new)
        message = f'running statistics of {len(changes)} norms recalibrated'
        if changes:
            name = max(changes, key=lambda name: changes[name].mean)
            message += (
                f'; the mean of {name} moved farthest, by '
                f'{changes[name].mean:.3f} standard deviations'
            )
        print_log(message, 'current')


def _validates_after(done: int, last: int, runner: Runner) -> bool:
    loop = runner.train_loop
    due = done >= loop.val_begin and done % loop.val_interval == 0
    return done == last or (due and runner.val_loop is not None)


def _find_training_data(runner: Runner) -> Dataset | None:
    why = 'the config has no train_dataloader'
    if runner._train_dataloader is not None:
        try:
            return training_data(runner)
        # The data sets of mmseg assert that their files exist.
        except (OSError, AssertionError) as error:
            why = str(error)
    print_log(
        'running statistics stay as they are for lack of training data: '
        f'{why}',
        'current',
        logging.WARNING,
    )
    return None


def _unwrapped(model: nn.Module) -> nn.Module:
    if is_model_wrapper(model):
        model = model.module
    return model.module if isinstance(model, BaseTTAModel) else model
