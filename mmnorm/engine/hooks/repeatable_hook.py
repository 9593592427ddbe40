# Copyright (c) mmnorm contributors. All rights reserved.
"""Training with the same result whether or not it was interrupted."""

import random
from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmnorm.registry import HOOKS


@HOOKS.register_module()
class RepeatableHook(Hook):
    """A hook that seeds the random numbers of each step by its number.

    When mmengine resumes a run, it restores the weights, the optimizer, the
    schedules and the seed, but not the state of the random numbers. Sampled
    proposals and augmentations then differ from those of an uninterrupted
    run. With this hook both runs are equal, for any number of processes, if
    data are loaded in the main process (``num_workers=0``) and the run
    resumes at the start of an epoch, or anywhere in a training by iterations.
    With workers, only the augmentations differ.

    Example::

        custom_hooks = [dict(type='mmnorm.RepeatableHook')]
    """

    # The hook runs after all hooks that could draw random numbers.
    priority = 'LOWEST'

    def before_train_epoch(self, runner: Runner) -> None:
        self._seed(runner, runner.iter)
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            # A resumed run first skips the batches that it has seen. Then
            # the random numbers must go with the batch, not with the step.
            batches = loop.dataloader_iterator
            loop.dataloader_iterator = self._seeded(runner, batches)

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

    def _seeded(self, runner: Runner, batches: Iterator) -> Iterator:
        for number in count():
            self._seed(runner, number)
            yield next(batches)

    def _seed(self, runner: Runner, step: int) -> None:
        number = step * get_world_size() + get_rank()
        # Generators with consecutive seeds would be correlated.
        state = np.random.SeedSequence((runner.seed, number)).generate_state(3)
        random.seed(int(state[0]))
        # mmdet and mmcv draw from the global generator.
        np.random.seed(state[1])  # noqa: NPY002
        torch.manual_seed(int(state[2]))
