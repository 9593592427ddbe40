# Copyright (c) mmnorm contributors. All rights reserved.
"""A runner whose checkpoints are whole or not there."""

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner


class AtomicRunner(Runner):
    """mmengine's runner, but for how it writes a checkpoint.

    mmengine writes it under its final name, so a full disk or a kill leaves
    half a file there. This one writes beside it and renames.

    Raises:
        OSError: If the checkpoint cannot be written. It names the file; the
            checkpoints before it are as they were.
    """

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, **kwargs
    ) -> None:
        if '://' in str(out_dir):  # a store that is no file system
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        part = f'{filename}.part'
        try:
            super().save_checkpoint(out_dir, part, *args, **kwargs)
            if is_main_process():
                os.replace(Path(out_dir, part), Path(out_dir, filename))
        except OSError as error:
            Path(out_dir, part).unlink(missing_ok=True)
            raise CheckpointError(
                f'checkpoint {str(Path(out_dir, filename))!r} could not be '
                f'written ({error.strerror or error}); the ones before it are '
                'whole: make room, then go on with --resume'
            ) from error


class CheckpointError(OSError):
    """A checkpoint could not be written."""
