# Copyright (c) mmnorm contributors. All rights reserved.
"""Dispatch to one of two backends: torch's operators or Triton kernels.

Triton kernels run where a tensor is on a GPU, once they have agreed with
torch's operators on that GPU; torch's operators run elsewhere. The
environment variable ``MMNORM_BACKEND`` chooses by hand, ``torch`` or
``triton``. Inputs that the kernels do not support, such as float64, go to
torch's operators in any case.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import torch_ops

CHOICES = ('torch', 'triton')
OLDEST_TRITON = 3  # older versions have no exact division
Formula = Callable[..., Any]

_forced: ContextVar[str | None] = ContextVar('forced', default=None)
_agreed: dict[torch.device, bool] = {}


def ops_for(x: Tensor) -> ModuleType:
    """Return the module with the four plane operators for ``x``.

    Args:
        x: An activation.

    Raises:
        ValueError: If ``MMNORM_BACKEND`` is none of its values, or asks for
            Triton where it cannot run.
    """
    kernels = _kernels('launch_planes', x)
    return kernels if kernels and kernels.supports(x) else torch_ops


def fused_kernels(
    x: Tensor, module: str = 'launch_fused'
) -> ModuleType | None:
    """Return a module with the kernels of whole norms, if they can run.

    Args:
        x: An activation.
        module: The module's name in :mod:`mmnorm.functional.triton`.
    """
    if torch_ops.is_traced():
        return None
    return None if ops_for(x) is torch_ops else _module(module)


def with_kernels(module: str) -> Callable[[Formula], Formula]:
    """Let a function on small tensors run as the kernel of the same name.

    Args:
        module: Module of :mod:`mmnorm.functional.triton` with that name.
    """

    def decorate(formula: Formula) -> Formula:
        @functools.wraps(formula)
        def choose(x: Tensor, *args: object) -> object:
            # torch.compile fuses plain operators itself.
            if torch_ops.is_traced():
                return formula(x, *args)
            kernels = _kernels(module, x)
            name = formula.__name__
            if kernels is None or not kernels.supports(name, x, *args):
                return formula(x, *args)
            return getattr(kernels, name)(x, *args)

        return choose

    return decorate


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """Run everything inside on one backend, whatever device and variable.

    Args:
        backend: ``'torch'`` or ``'triton'``.
    """
    token = _forced.set(backend)
    try:
        yield
    finally:
        _forced.reset(token)


def _kernels(module: str, x: Tensor) -> ModuleType | None:
    choice = _forced.get() or chosen_backend()
    if choice is None:
        return _module(module) if x.is_cuda and _agree(x.device) else None
    if choice == 'torch':
        return None
    if reason := _missing_triton():
        raise ValueError(
            f'MMNORM_BACKEND is triton, but {reason}: pip install triton, or '
            'unset the variable'
        )
    if not x.is_cuda and os.environ.get('TRITON_INTERPRET') != '1':
        raise ValueError(
            f'MMNORM_BACKEND is triton, which needs tensors on a GPU, but '
            f'this one is on {x.device}: unset the variable, or set '
            'TRITON_INTERPRET=1 to run the kernels on CPU, slowly'
        )
    return _module(module)


@functools.cache
def chosen_backend() -> str | None:
    """Return what ``MMNORM_BACKEND`` says when a norm first asks.

    Raises:
        ValueError: If the variable has none of its values.
    """
    choice = os.environ.get('MMNORM_BACKEND')
    if choice not in (None, *CHOICES):
        raise ValueError(
            f'the environment variable MMNORM_BACKEND is {choice!r}, but has '
            f'to be one of {", ".join(CHOICES)}'
        )
    return choice


@functools.cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f'.triton.{name}', __package__)


@functools.cache
def _missing_triton() -> str | None:
    try:
        import triton
    except ImportError:  # torch comes without it on some platforms
        return 'the package triton is not installed'
    if int(triton.__version__.split('.')[0]) < OLDEST_TRITON:
        return (
            f'triton {triton.__version__} is installed and the kernels need '
            f'{OLDEST_TRITON}.0, which comes with torch 2.4'
        )
    return None


def _agree(device: torch.device) -> bool:
    """Return whether the kernels agree with torch's operators on a device."""
    if device not in _agreed:
        if device.type == 'cuda' and torch.cuda.is_current_stream_capturing():
            return False  # a graph that is captured cannot hold the test
        try:
            _agreed[device] = _passes_self_test(device)
        except torch.cuda.OutOfMemoryError:
            return False  # another norm tries again
    return _agreed[device]


def _passes_self_test(device: torch.device) -> bool:
    # Once per device, because there are GPUs, drivers and compilers that
    # nobody has tried.
    reason = _missing_triton()
    if reason is None:
        try:
            reason = _module('self_test').first_difference(device)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as exception:  # whatever a compiler may raise
            text = f'{type(exception).__name__}: {exception}'
            reason = text.splitlines()[0]
    if reason is None:
        return True
    warnings.warn(
        f"mmnorm uses torch's operators on {device}, which are slower than "
        f'its Triton kernels: {reason}. MMNORM_BACKEND=torch in the '
        'environment chooses them silently; if triton is installed and new '
        'enough, please report this',
        stacklevel=2,
    )
    return False
