# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoints that are removed only after the next one is written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mmengine.hooks
from mmengine.fileio import BaseStorageBackend
from mmengine.runner import Runner

from mmnorm.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(mmengine.hooks.CheckpointHook):
    """The hook of mmengine, which removes an old checkpoint late.

    mmengine removes the best checkpoint so far, and the oldest one of
    ``max_keep_ckpts``, before it writes the next one. On a full disk both
    would be lost. ``tools/train.py`` uses this hook in place of mmengine's.
    The arguments are the same.

    Example::

        default_hooks = dict(
            checkpoint=dict(type='mmnorm.CheckpointHook', max_keep_ckpts=1)
        )
    """

    def _save_checkpoint_with_step(self, *args, **kwargs) -> None:
        with self._late_removal():
            super()._save_checkpoint_with_step(*args, **kwargs)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._late_removal():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _late_removal(self) -> Iterator[None]:
        # Nothing is removed if the block raises an error.
        backend, removals = self.file_backend, []
        self.file_backend = _LateRemoval(backend, removals)
        try:
            yield
        finally:
            self.file_backend = backend
        for remove, path in removals:
            remove(path)


class _LateRemoval:
    """A storage backend that notes what it would remove."""

    def __init__(
        self,
        backend: BaseStorageBackend,
        removals: list[tuple[Callable[[str], None], str]],
    ) -> None:
        self.backend = backend
        self.removals = removals

    def __getattr__(self, name: str) -> object:
        method = getattr(self.backend, name)
        if name in ('remove', 'rmtree'):
            return lambda path: self.removals.append((method, path))
        return method
