# Copyright (c) mmnorm contributors. All rights reserved.
"""Load checkpoint files without running code from them.

A file is a pickle, and a pickle can name any function to be called. Here a
file may only name what weights need. Every other file ends in one sentence.
"""

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from .safe_globals import MMENGINE_GLOBALS, NUMPY_GLOBALS, TORCH_IS_SAFE

# Unpickling raises these on truncated, random and hostile files.
BROKEN = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)


def load_torch(path: str, mmap: bool = False) -> dict:
    """Load a file of torch.

    Args:
        path: The file.
        mmap: Whether to leave the numbers of the tensors on the disk until
            they are read.

    Raises:
        ValueError: If the file is missing, broken or empty, or if it asks
            for anything that weights do not need; in one sentence.
    """

    def load(file: BinaryIO) -> object:
        # The old format of torch cannot be mapped.
        is_zip = file.read(4) == b'PK\x03\x04'
        safely = (
            dict(weights_only=True)
            if TORCH_IS_SAFE
            else dict(weights_only=False, pickle_module=_TorchPickle)
        )
        return torch.load(path, 'cpu', mmap=mmap and is_zip, **safely)

    content = _load(path, 'checkpoint of torch', load)
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f'checkpoint {path!r} holds a {type(content).__name__} and no '
            'state_dict'
        )
    return content


def load_detectron(path: str) -> dict:
    """Load the arrays of a ``.pkl`` of Detectron as tensors.

    Raises:
        ValueError: As :func:`load_torch` does.
    """

    def load(file: BinaryIO) -> object:
        # Detectron wrote with Python 2, whose strings were bytes.
        return _DetectronUnpickler(file, encoding='latin1').load()

    content = _load(path, 'pickle of Detectron', load)
    blobs = content.get('blobs', content) if isinstance(content, dict) else {}
    arrays = {
        name: torch.from_numpy(np.array(blob))
        for name, blob in blobs.items()
        if isinstance(blob, np.ndarray) and blob.dtype.kind == 'f'
    }
    if not arrays:
        raise ValueError(f'checkpoint {path!r} holds no arrays of Detectron')
    return arrays


def _load(path: str, kind: str, load: Callable[[BinaryIO], object]) -> object:
    if not Path(path).is_file():
        raise ValueError(
            f'checkpoint {path!r} does not exist or is not a file'
        )
    try:
        with open(path, 'rb') as file:
            return load(file)
    except OSError as error:
        raise ValueError(
            f'checkpoint {path!r} cannot be read: {error.strerror or error}'
        ) from error
    except BROKEN as error:
        # Only the name is repeated: torch advises to load the file anyway.
        refused = re.search(r'GLOBAL (\S+)', str(error))
        if refused:
            raise ValueError(
                f'checkpoint {path!r} asks for {refused[1]} on loading, which '
                'weights do not need and which could run code, so it is '
                'refused: use a file that holds only weights'
            ) from error
        reason = str(error).strip().split('\n')[0]
        if re.search('weights.only', reason, re.IGNORECASE):
            reason = ''
        reason = f'{type(error).__name__}: {reason}'.rstrip(': ')
        raise ValueError(
            f'checkpoint {path!r} ({Path(path).stat().st_size} bytes) cannot '
            f'be read: it is truncated, or not a {kind} ({reason})'
        ) from error


class _DetectronUnpickler(pickle._Unpickler):
    """An unpickler of numpy arrays in plain containers.

    Its base is the one in Python. A damaged index makes the one in C allocate
    gigabytes for its list of references.
    """

    dispatch = pickle._Unpickler.dispatch.copy()

    def allowed(self) -> dict[str, object]:
        return NUMPY_GLOBALS

    def find_class(self, module: str, name: str) -> object:
        # Files of torch have the names of Python 2.
        module = module.replace('__builtin__', 'builtins')
        found = self.allowed().get(f'{module}.{name}')
        if found is None:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name}')
        return found

    def load_build(self) -> None:
        dtype, state = self.stack[-2:]
        if isinstance(dtype, np.dtype):
            # numpy believes any state, and would then read other memory.
            _, _, *fields, size, alignment, flags = state
            known = (
                fields == [None] * 3
                and size in (-1, dtype.itemsize)
                and alignment in (-1, dtype.alignment)
                and flags == dtype.flags
            )
            if not known:
                raise pickle.UnpicklingError(f'damaged state of {dtype}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


class _TorchUnpickler(_DetectronUnpickler):
    """An unpickler of tensors and of what mmengine stores beside them."""

    def allowed(self) -> dict[str, object]:
        torch_globals = torch._weights_only_unpickler._get_allowed_globals()
        return torch_globals | MMENGINE_GLOBALS


class _TorchPickle:
    """A pickle module as ``torch.load`` takes it, for torch before 2.6."""

    Unpickler = _TorchUnpickler

    @staticmethod
    def load(file: BinaryIO, **options: object) -> object:
        return _TorchUnpickler(file, **options).load()
