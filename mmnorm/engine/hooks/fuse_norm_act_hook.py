# Copyright (c) mmnorm contributors. All rights reserved.
"""Fused activations, asked for by a config."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.deploy.fuse_norm_act import fuse_norm_act
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class FuseNormActHook(Hook):
    """Calls :func:`mmnorm.fuse_norm_act` before training or testing.

    Example::

        custom_hooks = [dict(type='mmnorm.FuseNormActHook')]
    """

    def before_run(self, runner: Runner) -> None:
        num_fused = fuse_norm_act(runner.model)
        runner.logger.info(f'{num_fused} modules fuse norm and activation')
