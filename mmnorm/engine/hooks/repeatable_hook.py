# Copyright (c) mmnorm contributors. All rights reserved.
"""Training that ends the same whether or not it was interrupted."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.registry import HOOKS


@HOOKS.register_module()
class RepeatableHook(Hook):
    """Draw the chance of every step from the seed and its number alone.

    mmengine restores weights, optimizer and schedules when it resumes, and
    the seed, but not how far the random numbers had been drawn; so sampled
    proposals and augmentations differ from those of an uninterrupted run.
    With this hook they are the same, at any number of processes, for runs
    that resume at the start of an epoch and load data in the main process
    (``num_workers=0``); with workers, only the augmentations differ.

    Example::

        custom_hooks = [dict(type='mmnorm.RepeatableHook')]
    """

    # After every hook that could draw.
    priority = 'LOWEST'

    def before_train_epoch(self, runner: Runner) -> None:
        self._seed(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self._seed(runner, runner.iter + 1)

    def after_val(self, runner: Runner) -> None:
        self._seed(runner, runner.iter)

    def _seed(self, runner: Runner, step: int) -> None:
        draw = step * get_world_size() + get_rank()
        # One generator a step: seeds in a row would be related.
        state = np.random.SeedSequence((runner.seed, draw)).generate_state(3)
        random.seed(int(state[0]))
        # The generator that mmdet and mmcv draw from is the global one.
        np.random.seed(state[1])  # noqa: NPY002
        torch.manual_seed(int(state[2]))
