# Copyright (c) mmnorm contributors. All rights reserved.
"""Which of the two backends passes over an activation.

Torch operators, unless the environment variable ``MMNORM_BACKEND`` is
``triton``. That shall be the choice on a GPU once the kernels have run on
one; so far the interpreter and the compiler alone have seen them.
"""

import functools
import os
from types import ModuleType

from torch import Tensor

from . import torch_ops

CHOICES = ('torch', 'triton')


def backend_of(x: Tensor) -> ModuleType:
    """The module with the four passes for ``x``.

    What the Triton kernels do not take, such as float64, is left to the
    torch operators, whatever the variable.

    Raises:
        ValueError: If ``MMNORM_BACKEND`` is none of its values, or asks for
            Triton where it cannot run.
    """
    choice = os.environ.get('MMNORM_BACKEND', 'torch')
    if choice not in CHOICES:
        raise ValueError(
            f'the environment variable MMNORM_BACKEND is {choice!r}, but has '
            f'to be one of {", ".join(CHOICES)}'
        )
    if choice == 'torch':
        return torch_ops
    triton_ops = _triton_ops()
    _demand(triton_ops, x)
    return triton_ops if triton_ops.suits(x) else torch_ops


@functools.cache
def _triton_ops() -> ModuleType | None:
    try:
        import triton  # noqa: F401
    except ImportError:  # torch comes without it on some platforms
        return None
    from . import triton_ops

    return triton_ops


def _demand(triton_ops: ModuleType | None, x: Tensor) -> None:
    if triton_ops is None:
        raise ValueError(
            'MMNORM_BACKEND is triton, but the package triton is not '
            'installed: pip install triton, or unset the variable'
        )
    interpreted = os.environ.get('TRITON_INTERPRET') == '1'
    if not x.is_cuda and not interpreted:
        raise ValueError(
            f'MMNORM_BACKEND is triton, which needs tensors on a GPU, but '
            f'this one is on {x.device}: unset the variable, or set '
            'TRITON_INTERPRET=1 to run the kernels on CPU, slowly'
        )
