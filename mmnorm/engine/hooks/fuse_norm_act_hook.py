# Copyright (c) mmnorm contributors. All rights reserved.
"""Fused activations for a model that a config names."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnorm.deploy.fuse_norm_act import fuse_norm_act
from mmnorm.registry import HOOKS


@HOOKS.register_module()
class FuseNormActHook(Hook):
    """A hook that calls :func:`mmnorm.fuse_norm_act` before a run.

    Example::

        custom_hooks = [dict(type='mmnorm.FuseNormActHook')]
    """

    def before_run(self, runner: Runner) -> None:
        num_fused = fuse_norm_act(runner.model)
        runner.logger.info(f'{num_fused} modules fuse norm and activation')
