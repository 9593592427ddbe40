# Copyright (c) mmnorm contributors. All rights reserved.
"""Checkpoint files: read without running what is in them, written whole."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import torch

from .checks import checkpoint_error, existing_error, refusal


def read_checkpoint(path: str) -> dict:
    """Read a file of torch, or a ``.pkl`` of Detectron, and run no code.

    Args:
        path: The file.

    Raises:
        ValueError: If it is missing, broken, or asks for anything that
            weights do not need; in one sentence.
    """
    if path.endswith('.pkl') and Path(path).is_file():
        return _read_arrays(path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # unpickling noise can raise any
        raise ValueError(checkpoint_error(path) or str(error)) from error
    if sentence := checkpoint_error(path):  # it is no dict, or empty
        raise ValueError(sentence)
    return content


def write_checkpoint(checkpoint: dict, path: Path | str) -> None:
    """Write a checkpoint whole or not at all, and never over a file.

    Raises:
        ValueError: If the file is there already, or cannot be written; in
            one sentence.
    """
    write_bytes(to_bytes(checkpoint), Path(path))


def to_bytes(checkpoint: dict) -> bytes:
    """What a file of this checkpoint holds; the same for the same content."""
    # torch writes the name of a file into it, and into memory none.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file whole or not at all, and never over another.

    Raises:
        ValueError: If the file is there already, or cannot be written; in
            one sentence.
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
        # Of an OUT in a folder that is none, there is no part either.
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def _latin1(text: str, encoding: str) -> bytes:
    # How Python 3 writes bytes in the protocol of Python 2.
    return text.encode('latin1')


class _Arrays(pickle.Unpickler):
    """Unpickles numpy arrays in plain containers, and nothing else."""

    allowed = {
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype,
        ('_codecs', 'encode'): _latin1,
        **{
            (f'numpy.{core}.multiarray', '_reconstruct'): (
                np.ndarray.__reduce__(np.empty(0))[0]
            )
            for core in ('core', '_core')
        },
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.allowed:
            raise PermissionError(f'{module}.{name}')
        return self.allowed[module, name]


def _read_arrays(path: str) -> dict:
    with open(path, 'rb') as file:
        try:
            # Detectron wrote with Python 2, whose strings were bytes.
            content = _Arrays(file, encoding='latin1').load()
        except PermissionError as error:
            raise ValueError(refusal(path, str(error))) from error
        except Exception as error:  # unpickling noise can raise any
            raise ValueError(
                f'checkpoint {path!r} ({Path(path).stat().st_size} bytes) '
                f'cannot be read: it is truncated, or no pickle ({error})'
            ) from error
    blobs = content.get('blobs', content) if isinstance(content, dict) else {}
    arrays = {
        name: torch.from_numpy(np.array(blob))
        for name, blob in blobs.items()
        if isinstance(blob, np.ndarray) and blob.dtype.kind == 'f'
    }
    if not arrays:
        raise ValueError(f'checkpoint {path!r} holds no arrays of Detectron')
    return arrays
