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
    """Make running statistics exact before they are used: PreciseBN.

    What :func:`mmnorm.precise.recalibrate` says of layers and data, and
    of what stays the same, holds here.

    - It comes before validation, before the checkpoint of the same step is
      saved, and at the end of training. A checkpoint of a step without
      validation holds the statistics of training.
    - It comes before a test, where the training data is there.
    - Training keeps the new statistics, as with PreciseBN of fvcore. Norms of
      batch statistics do not read them, so weights come out as without the
      hook; an estimated BCN goes on from them.
    - With EMAHook the averaged model is recalibrated, for that is the one
      that is evaluated.

    Args:
        num_batches: Training batches of each process.

    Raises:
        ValueError: If ``num_batches`` is less than 1.
        TypeError: If ``train_dataloader`` is an object and no config.

    Example::

        custom_hooks = [dict(type='mmnorm.RecalibrateHook', num_batches=200)]
    """

    # After weights are averaged and estimates exchanged, before checkpoints
    # are saved.
    priority = 'LOW'

    def __init__(self, num_batches: int = 200) -> None:
        if num_batches < 1:
            raise ValueError(
                f'RecalibrateHook.num_batches={num_batches}: set it to 1 or '
                'more'
            )
        self.num_batches = num_batches
        self.dataset: Dataset | None = None
        self.step = 0
        self.last: int | None = None

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner._train_dataloader, DataLoader):
            raise TypeError(
                'RecalibrateHook makes a data loader of its own: give '
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
        # For loops of other kinds, and intervals that change on the way.
        if self.last != self.step:
            self._recalibrate(runner)

    def before_test(self, runner: Runner) -> None:
        self._recalibrate(runner)

    def _recalibrate(self, runner: Runner) -> None:
        self.last = self.step
        if self.dataset is None:
            self.dataset = _find_training_data(runner)
        if self.dataset is None:
            return
        model = source = _unwrapped(runner.model)
        averages = [h for h in runner.hooks if isinstance(h, EMAHook)]
        for hook in averages:
            model = _unwrapped(hook.ema_model.module)
        shifts = recalibrate_on(
            self.dataset, runner, model, self.num_batches, self.step
        )
        for hook in averages:
            if not hook.ema_model.update_buffers:
                # Averaged weights are evaluated with the buffers of others.
                for ours, new in zip(
                    source.buffers(), model.buffers(), strict=True
                ):
                    ours.copy_(new)
        said = f'running statistics of {len(shifts)} norms recalibrated'
        if shifts:
            name = max(shifts, key=lambda name: shifts[name].mean)
            said += (
                f'; {name} moved farthest, its mean by '
                f'{shifts[name].mean:.3f} standard deviations'
            )
        print_log(said, 'current')


def _validates_after(done: int, last: int, runner: Runner) -> bool:
    loop = runner.train_loop
    due = done >= loop.val_begin and done % loop.val_interval == 0
    return done == last or (due and runner.val_loop is not None)


def _find_training_data(runner: Runner) -> Dataset | None:
    why = 'the config has no train_dataloader'
    if runner._train_dataloader is not None:
        try:
            return training_data(runner)
        # Data sets of mmseg assert that their files are there.
        except (OSError, AssertionError) as error:
            why = str(error)
    print_log(
        f'running statistics stay as they are, without training data: {why}',
        'current',
        logging.WARNING,
    )
    return None


def _unwrapped(model: nn.Module) -> nn.Module:
    if is_model_wrapper(model):
        model = model.module
    return model.module if isinstance(model, BaseTTAModel) else model
