# Copyright (c) mmnorm contributors. All rights reserved.
"""The schedule of sparse switchable normalization."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.layers import SSN
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class SparseSwitchHook(Hook):
    """A hook that lets the radius of each SSN grow with the training.

    After each iteration the radius is the number of iterations so far over
    the number of all iterations, as in the paper. A resumed training goes on
    where it was, and a training from the weights of another one starts at 0.

    Raises:
        ValueError: If the model has no SSN.

    Example::

        norm_cfg = dict(type='mmnorm.SSN')
        custom_hooks = [dict(type='mmnorm.SparseSwitchHook')]
    """

    # The hook runs before weights are averaged and checkpoints are saved.
    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        modules = runner.model.modules()
        self.layers = [m for m in modules if isinstance(m, SSN)]
        if not self.layers:
            raise ValueError(
                'SparseSwitchHook finds no SSN in the model: set '
                "norm_cfg.type to 'mmnorm.SSN', or remove the hook"
            )
        self._set(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        self._set(runner, runner.iter + 1)

    def _set(self, runner: Runner, iteration: int) -> None:
        for layer in self.layers:
            layer.radius.fill_(iteration / runner.max_iters)
