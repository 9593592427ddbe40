# Copyright (c) mmnorm contributors. All rights reserved.
"""Find what is wrong with a checkpoint file, and say it in one sentence."""

import os
import re
from pathlib import Path

import torch


def checkpoint_error(path: str, to_resume: bool = False) -> str | None:
    """Look at a checkpoint file.

    Args:
        path: The file; an address of another kind is not looked at.
        to_resume: Whether training is to go on from it, for which it has
            to hold the optimizer.
    """
    if '://' in path:
        return None
    if not Path(path).is_file():
        return f'checkpoint {path!r} does not exist or is not a file'
    try:
        checkpoint = _load(path)
    except Exception as e:  # unpickling noise can raise any
        asked = re.search(r'GLOBAL (\S+)', str(e))
        if asked:  # torch would advise to load it all the same
            return refusal(path, asked[1])
        reason = str(e).strip().splitlines() or [type(e).__name__]
        if 'weights_only' in reason[0]:  # so it would here
            reason = [type(e).__name__]
        return (
            f'checkpoint {path!r} ({Path(path).stat().st_size} bytes) cannot '
            'be read: it is truncated, or not a checkpoint of torch '
            f'({reason[0]})'
        )
    if not isinstance(checkpoint, dict) or not checkpoint:
        kind = type(checkpoint).__name__
        return f'checkpoint {path!r} holds a {kind} and no state_dict'
    if to_resume and not {'state_dict', 'meta', 'optimizer'} <= set(
        checkpoint
    ):
        return (
            f'checkpoint {path!r} holds weights alone, so training cannot be '
            'resumed from it: start anew from its weights with '
            f'--cfg-options load_from={path}'
        )
    return None


def existing_error(path: str) -> str | None:
    """Look whether a file to write is there, for none is written over."""
    if not os.path.lexists(path):
        return None
    return f'{path!r} is there already: name another file, or remove it'


def refusal(path: str, asked: str) -> str:
    """Say that a file is not loaded for what it asks for on loading."""
    return (
        f'checkpoint {path!r} asks for {asked} on loading, which weights do '
        'not need and which could run code: it is refused; get one of the '
        'weights alone'
    )


def _load(path: str) -> object:
    with open(path, 'rb') as file:
        is_zip = file.read(4) == b'PK\x03\x04'
    # Mapped, the tensors of a large file are not read; the old format of
    # torch cannot be mapped.
    return torch.load(path, map_location='cpu', weights_only=True, mmap=is_zip)
