# Copyright (c) mmnorm contributors. All rights reserved.
"""Records of what the norms of a model do during a training."""

from functools import partial
from pathlib import Path

import torch
from mmengine.dist import (
    all_reduce,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmnorm.analysis.non_finite import first_non_finite
from mmnorm.analysis.norm_stats import NormStats
from mmnorm.precise.exact_statistics import compute_losses
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class NormStatsHook(Hook):
    """A hook that records the statistics of each norm during a training.

    The numbers are those of :class:`mmnorm.analysis.norm_stats.NormStats`:
    the share of dead channels, the distance from the statistics of batch
    normalization, the gap between batch and running statistics, and the
    shares of switchable norms. Every ``interval`` steps the hook looks at
    ``num_batches`` batches of its process, and process 0 writes to the
    visualizer of mmengine, under ``norm/LAYER/NUMBER``: to the file
    ``scalars.json``, and to TensorBoard if the config has this backend.

    If a loss is not finite, the hook runs the batch again before the
    optimizer steps, names the first layer with a number that is not finite,
    saves the batch beside the log, and ends the training. With several
    processes all of them run their batches again, because their norms wait
    for each other; each process that has such a loss names its layer. Under
    a gradient scaler, which skips such steps on purpose, the hook only makes
    records.

    Args:
        interval: Steps from one record to the next one.
        num_batches: Batches per record. A step whose batch is looked at takes
            longer by a tenth or so, and the others take no longer.

    Raises:
        ValueError: If an argument is less than 1, or ``num_batches`` is more
            than ``interval``.
        FloatingPointError: If a loss is not finite.

    Example::

        custom_hooks = [dict(type='mmnorm.NormStatsHook', interval=200)]
    """

    # The hook writes before the logger closes a step.
    priority = 'NORMAL'

    def __init__(self, interval: int = 100, num_batches: int = 4) -> None:
        if interval < 1:
            raise ValueError(
                f'NormStatsHook.interval={interval}: set interval to 1 or more'
            )
        if not 1 <= num_batches <= interval:
            raise ValueError(
                f'NormStatsHook.num_batches={num_batches}: set num_batches to '
                f'a number from 1 to interval, which is {interval}'
            )
        self.interval = interval
        self.num_batches = num_batches
        self.stats: NormStats | None = None

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if hasattr(wrapper, 'loss_scaler'):
            return
        update = wrapper.update_params

        def checked_update(loss: Tensor, *args, **kwargs) -> None:
            failed = 1 - loss.detach().isfinite().all().float()
            anywhere = failed.clone()
            all_reduce(anywhere, 'max')
            if anywhere:
                self._fail(runner, bool(failed))
            update(loss, *args, **kwargs)

        wrapper.update_params = checked_update

    def after_train(self, runner: Runner) -> None:
        # The class has the method again.
        vars(runner.optim_wrapper).pop('update_params', None)

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
    ) -> None:
        self.batch = data_batch
        if runner.iter % self.interval == 0:
            self.stats = NormStats(_inner(runner))
        if self.stats is not None:
            self.stats.counts = True

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        last = runner.iter % self.interval == self.num_batches - 1
        if self.stats is None:
            return
        self.stats.counts = False
        if not last:
            return
        found, self.stats = self.stats.finish(), None
        scalars = {
            f'norm/{name}/{key}': value
            for name, numbers in found.items()
            for key, value in numbers.items()
        }
        if is_main_process():
            runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def _fail(self, runner: Runner, here: bool) -> None:
        model, step = _inner(runner), runner.iter + 1
        with torch.no_grad():
            where = first_non_finite(
                model, partial(compute_losses, model, self.batch)
            )
        if not here:
            raise FloatingPointError(
                f'step {step}: the loss of another process is not finite'
            )
        where = where or 'a loss'
        rank = f'_rank_{get_rank()}' if get_world_size() > 1 else ''
        path = Path(runner.log_dir) / f'not_finite_{runner.iter}{rank}.pth'
        torch.save(self.batch, path)
        raise FloatingPointError(
            f'step {step}: {where} is the first that is not '
            f'finite; the batch is in {str(path)!r}'
        )


def _inner(runner: Runner) -> nn.Module:
    model = runner.model
    return model.module if is_model_wrapper(model) else model
