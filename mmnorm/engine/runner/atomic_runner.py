# Copyright (c) mmnorm contributors. All rights reserved.
"""A runner that writes whole checkpoints or none."""

import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner


class AtomicRunner(Runner):
    """A runner of mmengine that writes checkpoints atomically.

    mmengine writes a checkpoint under its final name, so a full disk or a
    killed process leaves half a file there. This runner writes the file
    under another name and then renames the file.

    Raises:
        CheckpointError: If a checkpoint cannot be written. The message names
            the file; earlier checkpoints stay as they were.
    """

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, **kwargs
    ) -> None:
        if '://' in str(out_dir):  # not a file system
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
                f'written ({error.strerror or error}); earlier checkpoints '
                'are whole: free some space, then continue with --resume'
            ) from error


class CheckpointError(OSError):
    """An error that a checkpoint could not be written."""
