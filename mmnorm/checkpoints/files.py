# Copyright (c) mmnorm contributors. All rights reserved.
"""Read checkpoint files safely, and write them whole."""

import io
import os
from pathlib import Path

import torch

from .checks import existing_error
from .unpickle import load_detectron, load_torch


def read_checkpoint(path: str) -> dict:
    """Read a file of torch or a ``.pkl`` of Detectron without running code.

    Args:
        path: The file.

    Raises:
        ValueError: If the file is missing or broken, or asks for anything
            that weights do not need; in one sentence.
    """
    return load_detectron(path) if path.endswith('.pkl') else load_torch(path)


def write_checkpoint(checkpoint: dict, path: Path | str) -> None:
    """Write a whole checkpoint or nothing, and never over a file.

    Raises:
        ValueError: If the file exists or cannot be written; in one sentence.
    """
    write_bytes(to_bytes(checkpoint), Path(path))


def to_bytes(checkpoint: dict) -> bytes:
    """Return the content of a checkpoint file; equal for equal checkpoints."""
    # torch writes the name of a file into the file, but none into memory.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def write_bytes(content: bytes, path: Path) -> None:
    """Write a whole file or nothing, and never over a file.

    Raises:
        ValueError: If the file exists or cannot be written; in one sentence.
    """
    if sentence := existing_error(str(path)):
        raise ValueError(sentence)
    part = path.with_name(f'{path.name}.part')
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise ValueError(
            f'{str(path)!r} cannot be written: {error.strerror or error}'
        ) from error
    finally:
        # Where the folder is not a folder, unlink would raise.
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
