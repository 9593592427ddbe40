# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the module that produces the input of a module, from one run."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Producers(NamedTuple):
    """Producers and consumers of tensors, as one run of a model shows them.

    Attributes:
        of: For each consumer that was called, the producers of its inputs.
            None stands for an input that is not the output of a module, or
            for more than one input.
        read_elsewhere: Modules whose outputs are read outside the consumers.
    """

    of: dict[nn.Module, set[nn.Module | None]]
    read_elsewhere: set[nn.Module]


def find_producers(
    model: nn.Module, consumers: set[nn.Module], *args: Any, **kwargs: Any
) -> Producers:
    """Run a model once and find the producers of some modules' inputs.

    The names and the order of modules do not tell what a ``forward`` does,
    but the tensors do. A read is found if it passes through torch's
    dispatcher, as with all operators of torch. Operators of mmcv such as
    RoIAlign read the memory themselves, so their reads are not found. What
    the model returns is read: tensors in lists, tuples, dicts and data
    classes, but not in objects of other classes.

    Args:
        model: The model.
        consumers: Modules of the model.
        args: Positional arguments of the model.
        kwargs: Keyword arguments of the model.
    """
    reads = _ReadMode()
    producers = defaultdict(set)

    def before_consumer(
        module: nn.Module, inputs: tuple, keywords: dict
    ) -> None:
        # nn.Identity, which replaces a folded norm, takes one input.
        alone = len(inputs) == 1 and not keywords
        producers[module].add(_producer_of(inputs[0]) if alone else None)
        reads.paused = True

    def after_consumer(module: nn.Module, inputs: tuple, _: Tensor) -> None:
        reads.paused = False

    def mark_output(module: nn.Module, inputs: tuple, output: object) -> None:
        # The innermost module returns first, so it is the producer.
        if isinstance(output, Tensor) and _producer_of(output) is None:
            output._mmnorm_producer = module

    handles = []
    try:
        for module in consumers:
            handles += [
                module.register_forward_pre_hook(
                    before_consumer, with_kwargs=True
                ),
                module.register_forward_hook(after_consumer),
            ]
        for module in model.modules():
            handles.append(module.register_forward_hook(mark_output))
        with torch.no_grad(), reads:
            result = model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    returned = set(map(_producer_of, _leaves(result)))
    return Producers(dict(producers), (reads.producers | returned) - {None})


class _ReadMode(TorchDispatchMode):
    """A mode that collects the producers of all that operators read."""

    def __init__(self) -> None:
        super().__init__()
        self.producers: set[nn.Module | None] = set()
        self.paused = False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if not self.paused:
            leaves = tree_flatten((args, kwargs))[0]
            self.producers.update(map(_producer_of, leaves))
        return operator(*args, **(kwargs or {}))


def _leaves(value: object) -> Iterator[object]:
    for leaf in tree_flatten(value)[0]:
        if is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _leaves(vars(leaf))
        else:
            yield leaf


def _producer_of(value: object) -> nn.Module | None:
    # The mark is an attribute of the tensor, so both are freed together.
    return getattr(value, '_mmnorm_producer', None)
