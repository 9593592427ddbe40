# Copyright (c) mmnorm contributors. All rights reserved.
"""The all-reduce that BCN with ``sync='step'`` needs after each update."""

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

from mmnorm.distributed.step_sync import StepSync
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class StepSyncHook(Hook):
    """A hook that calls :class:`mmnorm.StepSync` after each update.

    An update is an iteration in which the optimizer changes the weights. With
    ``accumulative_counts`` of an optimizer wrapper, the iterations between
    two updates only add to the sums. mmengine also updates at the end of
    training, and the estimates move with it. With several wrappers, the
    estimates move in each iteration in which one of them updates. An update
    that mixed precision skips counts, because all processes have to take part
    in the all-reduce.

    Example::

        norm_cfg = dict(type='mmnorm.BCN', sync='step')
        optim_wrapper = dict(accumulative_counts=4)
        custom_hooks = [dict(type='mmnorm.StepSyncHook')]
    """

    # The hook runs before weights are averaged and checkpoints are saved.
    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        self.synchronize = StepSync(runner.model)

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
    ) -> None:
        self.counts = [w.inner_count for w in _wrappers(runner)]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        counts = zip(_wrappers(runner), self.counts, strict=True)
        counted = [(w, count) for w, count in counts if w.inner_count > count]
        # A model whose train_step calls backward by itself counts nothing.
        # Its gradients are its own matter, and each iteration is an update.
        if not counted or any(_has_updated(*each) for each in counted):
            self.synchronize()


def _wrappers(runner: Runner) -> list[OptimWrapper]:
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.values())
    # DeepSpeed has its own kind of wrapper, without a count.
    return [wrapper] if isinstance(wrapper, OptimWrapper) else []


def _has_updated(wrapper: OptimWrapper, before: int) -> bool:
    # One iteration may call backward several times, so the last count of a
    # window can lie inside the iteration.
    window, now = wrapper._accumulative_counts, wrapper.inner_count
    at_end = before < wrapper._max_counts <= now
    return before // window < now // window or at_end
