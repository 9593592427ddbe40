# Copyright (c) mmnorm contributors. All rights reserved.
"""Schedules of the momentum of BCN's estimates, which a study compares."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm import BCN
from mmnorm.precise.training_batches import recalibrate_on
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class MomentumHook(Hook):
    r"""A hook that changes the momentum of BCN's estimates over a training.

    Step :math:`t` of :math:`T`, counted from 1, has the momentum

    .. math::
        r_t = \frac{r}{1 - (1 - r)^t}

    with ``debias``, which makes the estimates the plain mean of the first
    batches; the initial 0 and 1 then count for nothing. With ``follow_lr``
    the momentum falls as the learning rate does from its largest value, and
    where the rate is 0 the estimates stay. The
    formulas need ``base_batch_size=None``, the same momentum for all batches.

    Args:
        debias: Whether to debias the start.
        follow_lr: Whether to fall with the learning rate.
        freeze: Share of the training, at its end, in which the estimates
            stay as they are.
        num_batches: Training batches to recalibrate the estimates on before
            they freeze; 0 for none.
    """

    # The hook runs after the learning rate of the step is set.
    priority = 'LOW'

    def __init__(
        self,
        debias: bool = False,
        follow_lr: bool = False,
        freeze: float = 0.0,
        num_batches: int = 0,
    ) -> None:
        self.debias = debias
        self.follow_lr = follow_lr
        self.freeze = freeze
        self.num_batches = num_batches

    def before_train(self, runner: Runner) -> None:
        self.norms = [m.bn for m in runner.model.modules() if type(m) is BCN]
        self.momentum = [norm.momentum for norm in self.norms]
        self.largest_lr = max(
            group['initial_lr'] for group in runner.optim_wrapper.param_groups
        )

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
    ) -> None:
        step = runner.iter + 1
        first_frozen = round(runner.max_iters * (1 - self.freeze)) + 1
        if self.freeze and self.num_batches and step == first_frozen:
            recalibrate_on(
                runner.train_dataloader.dataset,
                runner,
                runner.model,
                self.num_batches,
                step,
            )
        for norm, momentum in zip(self.norms, self.momentum, strict=True):
            if self.follow_lr:
                lr = runner.optim_wrapper.param_groups[0]['lr']
                momentum *= lr / self.largest_lr
            if self.debias and momentum:
                momentum /= 1 - (1 - momentum) ** step
            if self.freeze and step >= first_frozen:
                momentum = 0.0
            norm.momentum = momentum
