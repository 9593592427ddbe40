# Copyright (c) mmnorm contributors. All rights reserved.
"""The predictions of batch Kalman normalization."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.layers import connect_kalman
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class KalmanHook(Hook):
    """A hook that connects the norms BKN of a backbone before a training.

    Raises:
        ValueError: If no ResNet in the model has a BKN to connect.

    Example::

        norm_cfg = dict(type='mmnorm.BKN')
        custom_hooks = [dict(type='mmnorm.KalmanHook')]
    """

    def before_train(self, runner: Runner) -> None:
        num_norms = connect_kalman(runner.model)
        if num_norms == 0:
            raise ValueError(
                'KalmanHook finds no ResNet whose norms are BKN: set '
                "norm_cfg.type of the backbone to 'mmnorm.BKN' and its "
                'convolutions to plain ones, or remove the hook'
            )
        runner.logger.info(f'KalmanHook connects {num_norms} norms')
