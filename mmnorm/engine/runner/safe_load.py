# Copyright (c) mmnorm contributors. All rights reserved.
"""Let torch load the checkpoints of mmengine safely.

Since 2.6 torch unpickles only what it knows, and a checkpoint of mmengine
0.10 holds the history of its log: numpy arrays in a ``HistoryBuffer``. They
are named here one by one. Nothing that could run code is among them.
"""

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version


def _method_of_history_buffer(owner: type, name: str) -> object:
    # HistoryBuffer pickles its own methods as getattr(HistoryBuffer, name).
    # Under the name of getattr, this answers for that class alone.
    if owner is not HistoryBuffer or name not in vars(HistoryBuffer):
        raise ValueError(
            f'the checkpoint asks for {name!r} of {owner!r}, which no '
            'checkpoint of mmengine does: do not trust this file'
        )
    return getattr(owner, name)


def allow_mmengine_checkpoints() -> None:
    """Name to torch what a checkpoint of mmengine holds besides tensors."""
    # Before 2.6 torch.load did not refuse them, and could not take a name
    # beside an object.
    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    numpy_core = np._core if hasattr(np, '_core') else np.core
    reconstruct = numpy_core.multiarray._reconstruct
    scalar = numpy_core.multiarray.scalar
    kinds = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u8', '?')
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_method_of_history_buffer, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *(type(np.dtype(kind)) for kind in kinds),
            # numpy 1 and 2 write the same two functions under two names.
            *(
                (function, f'numpy.{core}.multiarray.{name}')
                for core in ('core', '_core')
                for function, name in (
                    (reconstruct, '_reconstruct'),
                    (scalar, 'scalar'),
                )
            ),
        ]
    )
