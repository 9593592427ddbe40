# Copyright (c) mmnorm contributors. All rights reserved.
"""Find which module feeds which, by watching a model run."""

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Feeds(NamedTuple):
    """What one run of a model has shown."""

    # Of each watched module that was called, whose output it took; None for
    # a tensor that no module has returned, or if it took more than that.
    sources: dict[nn.Module, set[nn.Module | None]]
    # Modules with an output that others than the watched ones have read.
    read_elsewhere: set[nn.Module]


def watch(
    model: nn.Module, watched: set[nn.Module], *args: Any, **kwargs: Any
) -> Feeds:
    """Run a model once and see where the inputs of some modules come from.

    Names and the order of modules do not tell what a ``forward`` does; the
    tensors do. Reads are seen where they pass through torch's dispatcher, as
    all of torch's operators do. Those of mmcv that read memory themselves,
    such as RoIAlign, are not seen.

    Args:
        model: The model.
        watched: Modules of it.
        args: What the model is called with.
        kwargs: Likewise.
    """
    reads = _Reads()
    sources = defaultdict(set)

    def enter(module: nn.Module, inputs: tuple) -> None:
        x, *more = inputs
        sources[module].add(None if more else _maker_of(x))
        reads.paused = True

    def leave(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        reads.paused = False

    def sign(module: nn.Module, inputs: tuple, output: object) -> None:
        # The innermost module is the first to return.
        if isinstance(output, Tensor) and _maker_of(output) is None:
            output._mmnorm_maker = module

    handles = []
    try:
        for module in watched:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
        for module in model.modules():
            handles.append(module.register_forward_hook(sign))
        with torch.no_grad(), reads:
            result = model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    returned = {_maker_of(leaf) for leaf in tree_leaves(result)}
    return Feeds(dict(sources), (reads.makers | returned) - {None})


class _Reads(TorchDispatchMode):
    """Sees every operator, and of what it reads who has made it."""

    def __init__(self) -> None:
        super().__init__()
        self.makers: set[nn.Module | None] = set()
        self.paused = False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if not self.paused:
            read = tree_leaves((args, kwargs))
            self.makers.update(_maker_of(leaf) for leaf in read)
        return operator(*args, **(kwargs or {}))


def _maker_of(value: object) -> nn.Module | None:
    # Kept on the tensor, so it lives as long as the tensor does.
    return getattr(value, '_mmnorm_maker', None)
