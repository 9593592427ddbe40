# Copyright (c) mmnorm contributors. All rights reserved.
"""The all-reduce that BCN with ``sync='step'`` needs after each step."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.distributed.step_sync import StepSync
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class StepSyncHook(Hook):
    """A hook that calls :class:`mmnorm.StepSync` after each training step.

    Example::

        norm_cfg = dict(type='mmnorm.BCN', sync='step')
        custom_hooks = [dict(type='mmnorm.StepSyncHook')]
    """

    # The hook runs before weights are averaged and checkpoints are saved.
    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        self.synchronize = StepSync(runner.model)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self.synchronize()
