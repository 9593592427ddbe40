# Copyright (c) mmnorm contributors. All rights reserved.
"""Statistics of layers whose forward runs again in the backward.

Activation checkpointing frees the activations of a function and runs the
function a second time in the backward. By then the running statistics have
moved, and the other processes may be at another layer. Therefore the second
run has to get the statistics of the first run, without an update and without
an all-reduce.

After ``import mmnorm``, ``torch.utils.checkpoint`` opens a :class:`Record`
for each checkpointed function, reentrant or not. The function holds the
record, and both are freed together. A forward outside of a checkpointed
function is an ordinary forward, also inside a backward, where a gradient
penalty may call it.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from mmnorm.functional.torch_ops import is_traced

# The statistics that a layer used in one forward, of a kind of its own.
Statistics = tuple[Tensor, ...]


class Call(NamedTuple):
    """The statistics of a batch, and those that moved with it."""

    total: Tensor  # sums of all processes
    running_mean: Tensor  # running statistics after the update
    running_var: Tensor


class Record:
    """A record of the statistics that the layers of a function use.

    The record is entered around each run of the function. The first run
    fills the record. Every later run calls the same layers in the same order
    and gets the statistics of the first run.

    Example::

        >>> from mmnorm import BCN
        >>> norm, x, record = BCN(32), torch.rand(1, 32, 4, 4), Record()
        >>> with record:
        ...     first = norm(x)
        >>> with record:
        ...     second = norm(x)
        >>> torch.equal(first, second)
        True
    """

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, Statistics]] = []
        self.filled = False

    def __enter__(self) -> None:
        _thread.run = _Run(self, _current())

    def __exit__(self, *_: object) -> None:
        _thread.run = _thread.run.outer
        self.filled = True


class _Run:
    """One run of a function, possibly inside the run of an outer function."""

    def __init__(self, record: Record, outer: '_Run | None') -> None:
        self.calls = record.calls
        self.outer = outer
        self.next = iter(record.calls) if record.filled else None

    def recall(self, layer: nn.Module) -> Statistics | None:
        if self.next is None:
            # An outer function that runs again checkpoints the inner
            # function anew.
            call = self.outer and self.outer.recall(layer)
            if call is not None:
                self.calls.append((layer, call))
            return call
        expected, call = next(self.next, (None, None))
        if expected is not layer:
            raise RuntimeError(
                'a function under activation checkpointing calls other norms '
                f'in the backward than in the forward, first {layer}: make '
                'it call the same layers in the same order each time'
            )
        return call

    def record(self, layer: nn.Module, call: Statistics) -> None:
        self.calls.append((layer, call))
        if self.outer is not None:
            self.outer.record(layer, call)


_thread = threading.local()  # autograd runs the backward in other threads


def recall(layer: nn.Module) -> Statistics | None:
    """Return the statistics of the first run, if this is a second run.

    Args:
        layer: The module with the running statistics.

    Raises:
        RuntimeError: If the second run differs from the first.
    """
    if not is_traced():
        return _recall(layer)
    return _recall_outside_graph(layer) if _traced_in_a_run() else None


def record(layer: nn.Module, call: Callable[[], Statistics]) -> None:
    """Keep the statistics of this forward, if a record is open.

    Args:
        layer: The module with the running statistics.
        call: A function that returns the statistics. Without an open record
            it is not called.
    """
    if not is_traced():
        if _current() is not None:
            _current().record(layer, call())
    elif _traced_in_a_run():
        _record_outside_graph(layer, call())


def is_recorded() -> bool:
    """Return whether a record is open, outside of torch.compile."""
    return _current() is not None


def _recall(layer: nn.Module) -> Statistics | None:
    run = _current()
    return None if run is None else run.recall(layer)


# Under torch.compile, a checkpointed function that breaks the graph runs as
# Python, with compiled parts inside. These parts look up the record outside
# of their graphs, each time they run.
_recall_outside_graph = torch.compiler.disable(_recall)


@torch.compiler.disable
def _record_outside_graph(layer: nn.Module, call: Statistics) -> None:
    _current().record(layer, call)


@torch.compiler.assume_constant_result
def _traced_in_a_run() -> bool:
    return _current() is not None


def record_checkpoints() -> None:
    """Let ``torch.utils.checkpoint`` open a record for each function.

    The two names that are replaced are looked up at every call of
    ``checkpoint``. Therefore it does not matter which module has imported
    ``checkpoint``, and when.
    """
    module, reentrant = torch.utils.checkpoint, CheckpointFunction.forward
    if hasattr(reentrant, 'records_statistics'):  # mmnorm was reloaded
        return

    def forward(ctx: Any, function: Callable, *args: Any) -> Any:
        return reentrant(ctx, _recorded(function), *args)

    forward.records_statistics = True
    CheckpointFunction.forward = staticmethod(forward)
    not_reentrant = module._checkpoint_without_reentrant_generator

    def generator(
        function: Callable,
        preserve_rng_state: bool,
        context_fn: Callable,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if not is_traced():
            context_fn = functools.partial(_recorded_contexts, context_fn)
        return not_reentrant(
            function, preserve_rng_state, context_fn, *args, **kwargs
        )

    module._checkpoint_without_reentrant_generator = generator


def _recorded(function: Callable) -> Callable:
    record = Record()

    @functools.wraps(function, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        with record:
            return function(*args, **kwargs)

    return run


def _recorded_contexts(context_fn: Callable) -> tuple[Any, Any]:
    record = Record()
    return tuple(_Both(record, context) for context in context_fn())


class _Both:
    """A record and another context as one context, entered repeatedly."""

    def __init__(self, record: Record, inner: Any) -> None:
        self.record, self.inner = record, inner

    def __enter__(self) -> None:
        self.record.__enter__()
        self.inner.__enter__()

    def __exit__(self, *error: object) -> bool | None:
        try:
            return self.inner.__exit__(*error)
        finally:
            self.record.__exit__()


def _current() -> _Run | None:
    return getattr(_thread, 'run', None)
