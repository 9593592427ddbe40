# Copyright (c) mmnorm contributors. All rights reserved.
"""Which of the two backends computes: torch operators or Triton kernels.

Triton kernels where there is a GPU and they prove to work on it, torch
operators elsewhere; or what the environment variable ``MMNORM_BACKEND`` says,
``torch`` or ``triton``. What the kernels do not take, such as float64, is
left to the torch operators, whatever the variable.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import torch_ops

CHOICES = ('torch', 'triton')
Formula = Callable[..., Any]


def backend_of(x: Tensor) -> ModuleType:
    """The module with the four passes for ``x``.

    Raises:
        ValueError: If ``MMNORM_BACKEND`` is none of its values, or asks for
            Triton where it cannot run.
    """
    kernels = _kernels('passes', x)
    return kernels if kernels and kernels.suits(x) else torch_ops


def with_kernels(module: str) -> Callable[[Formula], Formula]:
    """Let a function on small tensors be its namesake among the kernels."""

    def decorate(formula: Formula) -> Formula:
        @functools.wraps(formula)
        def choose(x: Tensor, *args: object) -> object:
            # A compiler fuses plain operators itself.
            if torch_ops.is_recorded():
                return formula(x, *args)
            kernels = _kernels(module, x)
            if kernels is None or not kernels.suits(x, *args):
                return formula(x, *args)
            return getattr(kernels, formula.__name__)(x, *args)

        return choose

    return decorate


def _kernels(name: str, x: Tensor) -> ModuleType | None:
    choice = os.environ.get('MMNORM_BACKEND')
    if choice is None:
        return _module(name) if x.is_cuda and _works(x.device) else None
    if choice not in CHOICES:
        raise ValueError(
            f'the environment variable MMNORM_BACKEND is {choice!r}, but has '
            f'to be one of {", ".join(CHOICES)}'
        )
    if choice == 'torch':
        return None
    if _module(name) is None:
        raise ValueError(
            'MMNORM_BACKEND is triton, but the package triton is not '
            'installed: pip install triton, or unset the variable'
        )
    if not x.is_cuda and os.environ.get('TRITON_INTERPRET') != '1':
        raise ValueError(
            f'MMNORM_BACKEND is triton, which needs tensors on a GPU, but '
            f'this one is on {x.device}: unset the variable, or set '
            'TRITON_INTERPRET=1 to run the kernels on CPU, slowly'
        )
    return _module(name)


@functools.cache
def _module(name: str) -> ModuleType | None:
    try:
        import triton  # noqa: F401
    except ImportError:  # torch comes without it on some platforms
        return None
    return importlib.import_module(f'.kernels.{name}', __package__)


@functools.cache
def _works(device: torch.device) -> bool:
    # Once a device, for there are GPUs, drivers and compilers that no one
    # has tried: the kernels have to agree with the torch operators.
    if _module('passes') is None:
        return False
    try:
        error = _module('proof').largest_error(device)
    except Exception as exception:  # whatever a compiler may raise
        reason = f'{type(exception).__name__}: {exception}'.splitlines()[0]
    else:
        if error < 1e-3:  # not a number is not
            return True
        reason = f'they are off by {error:.2g}'
    warnings.warn(
        f'the Triton kernels of mmnorm do not work on {device} ({reason}): '
        "torch's operators are used, which are slower. Please report it; "
        'MMNORM_BACKEND=torch in the environment chooses them silently',
        stacklevel=2,
    )
    return False
