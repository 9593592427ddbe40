# Copyright (c) mmnorm contributors. All rights reserved.
"""Let torch load the checkpoints of mmengine safely."""

import numpy as np
import torch

from mmnorm.checkpoints.safe_globals import MMENGINE_GLOBALS, TORCH_IS_SAFE


def allow_mmengine_checkpoints() -> None:
    """Tell torch which names a checkpoint of mmengine may ask for.

    Before 2.6, ``torch.load`` allows every name and cannot be told any.
    """
    if not TORCH_IS_SAFE:
        return
    types = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u8', '?')
    torch.serialization.add_safe_globals(
        [
            *((value, name) for name, value in MMENGINE_GLOBALS.items()),
            *(type(np.dtype(name)) for name in types),
        ]
    )
