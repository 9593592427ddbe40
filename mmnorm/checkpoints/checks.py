# Copyright (c) mmnorm contributors. All rights reserved.
"""Find what is wrong with a checkpoint file, and say it in one sentence.

Each function returns the sentence, or None where nothing is wrong.
"""

import os

from .unpickle import load_torch


def checkpoint_error(path: str, to_resume: bool = False) -> str | None:
    """Check a checkpoint file.

    Args:
        path: The file. Addresses such as ``torchvision://resnet50`` are not
            checked.
        to_resume: Whether training is to be resumed from the file, which
            then has to hold the optimizer.
    """
    if '://' in path:
        return None
    try:
        checkpoint = load_torch(path, mmap=True)
    except ValueError as error:
        return str(error)
    if to_resume and not {'state_dict', 'meta', 'optimizer'} <= set(
        checkpoint
    ):
        return (
            f'checkpoint {path!r} holds only weights, so training cannot be '
            'resumed from it: start a new training from its weights with '
            f'--cfg-options load_from={path}'
        )
    return None


def existing_error(path: str) -> str | None:
    """Check that no file exists where a file is to be written."""
    if not os.path.lexists(path):
        return None
    return f'{path!r} is there already: name another file, or remove it'
