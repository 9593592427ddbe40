# Copyright (c) mmnorm contributors. All rights reserved.
"""Pairs of layers between which channels can be scaled back and forth.

If a filter and its bias are multiplied by a positive number, and the weights
that read its channel are divided by this number, then the function of the
network stays the same. This holds where only positively homogeneous operators
per channel are in between, such as ReLU and pooling. The autograd graph shows
what is in between: it knows each tensor that takes part in a loss.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
# Names of the nodes of layers, without the numbers of their versions, with
# the positions of input and weight.
LAYER_NODES = {'Convolution': (0, 1), 'Addmm': (1, 2), 'Mm': (0, 1)}
HOMOGENEOUS = {
    'AdaptiveAvgPool2D',
    'AdaptiveMaxPool2D',
    'AvgPool2D',
    'Clone',
    'LeakyRelu',
    'MaxPool2DWithIndices',
    'Relu',
    'ReshapeAlias',
    'ToCopy',
    'UnsafeView',
    'UpsampleBilinear2D',
    'UpsampleNearest2D',
    'View',
}


class Pair(NamedTuple):
    """A layer and the layers that read its output channels.

    Attributes:
        first: The name of the layer.
        second: The names of all layers that read its outputs.
        is_last: Whether no weight is behind the second layers.
    """

    first: str
    second: tuple[str, ...]
    is_last: bool

    def __str__(self) -> str:
        return f'{self.first} -> {", ".join(self.second)}'


def find_pairs(model: nn.Module, outputs: Iterable[Tensor]) -> list[Pair]:
    """Return all pairs of layers, in the order of the model's modules.

    Every call of the first layer has to lead to the second layers, every call
    of the second layers has to read the first one, and nothing else may read
    what is in between. Frozen layers and layers with computed weights, as in
    weight standardization, are in no pair.

    Args:
        model: The model.
        outputs: What the model has computed, with its autograd graph.
    """
    roots = {y.grad_fn for y in outputs if y.grad_fn is not None}
    readers: dict[Node, list[Node]] = defaultdict(list)
    nodes, stack = set(roots), list(roots)
    while stack:
        node = stack.pop()
        for source, _ in node.next_functions:
            if source is not None:
                readers[source].append(node)
                if source not in nodes:
                    nodes.add(source)
                    stack.append(source)
    layers = {
        module.weight: name
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    }
    calls: dict[str, list[Node]] = defaultdict(list)
    name_of: dict[Node, str] = {}
    tied = set()
    for node in nodes:
        weight = _weight(node)
        if weight in layers:
            name_of[node] = layers[weight]
            calls[layers[weight]].append(node)
        elif weight is None:
            # A weight that something else reads cannot be scaled.
            tied |= {layers.get(w) for w in _parameters_of(node)}

    def read_by(layer: str) -> set[str | None]:
        found: set[str | None] = set()
        for call in calls[layer]:
            found |= set(_through(call, readers, roots, name_of))
        return found

    def reads(layer: str) -> set[str | None]:
        return {_source(call, name_of) for call in calls[layer]}

    pairs = []
    for first in filter(calls.__contains__, layers.values()):
        second = read_by(first)
        if None in second or first in second or not second:
            continue
        if {first, *second} & tied:
            continue
        if any(reads(layer) != {first} for layer in second):
            continue
        ends = [call for layer in second for call in calls[layer]]
        is_last = not _has_weights_behind(ends, readers)
        # The names are in the order of the model.
        names = tuple(name for name in layers.values() if name in second)
        pairs.append(Pair(first, names, is_last))
    return [pair for pair in pairs if _fits(model, pair)]


def _fits(model: nn.Module, pair: Pair) -> bool:
    channels = num_outputs(model.get_submodule(pair.first))
    for name in pair.second:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear):  # behind a flattened map
            fits = layer.in_features % channels == 0
        else:
            fits = layer.in_channels == channels
        if not fits:
            return False
    return True


def num_outputs(layer: nn.Module) -> int:
    """Return the number of output channels of a layer."""
    is_linear = isinstance(layer, nn.Linear)
    return layer.out_features if is_linear else layer.out_channels


def _kind(node: Node) -> str:
    return node.name().split('Backward')[0]


def _variable(node: Node | None) -> Tensor | None:
    # Linear layers transpose their weight.
    while node is not None and _kind(node) in ('T', 'ToCopy'):
        node = node.next_functions[0][0]
    return getattr(node, 'variable', None)


def _weight(node: Node) -> Tensor | None:
    if _kind(node) not in LAYER_NODES:
        return None
    _, position = LAYER_NODES[_kind(node)]
    return _variable(node.next_functions[position][0])


def _parameters_of(node: Node) -> list[Tensor]:
    if _kind(node) in ('T', 'ToCopy'):
        return []
    found = (_variable(source) for source, _ in node.next_functions)
    return [variable for variable in found if variable is not None]


def _through(
    call: Node,
    readers: dict[Node, list[Node]],
    roots: set[Node],
    name_of: dict[Node, str],
) -> Iterator[str | None]:
    """Yield the layers that read an output, and None for anything else."""
    stack = [call]
    while stack:
        node = stack.pop()
        if node in roots:
            yield None
        for reader in readers[node]:
            if reader in name_of:
                position, _ = LAYER_NODES[_kind(reader)]
                is_input = reader.next_functions[position][0] is node
                yield name_of[reader] if is_input else None
            elif _kind(reader) in HOMOGENEOUS:
                stack.append(reader)
            else:
                yield None


def _source(call: Node, name_of: dict[Node, str]) -> str | None:
    """Return the layer whose output a layer reads, or None."""
    position, _ = LAYER_NODES[_kind(call)]
    node = call.next_functions[position][0]
    while node is not None and _kind(node) in HOMOGENEOUS:
        node = node.next_functions[0][0]
    return name_of.get(node)


def _has_weights_behind(
    ends: list[Node], readers: dict[Node, list[Node]]
) -> bool:
    seen, stack = set(ends), list(ends)
    while stack:
        for reader in readers[stack.pop()]:
            if reader in seen:
                continue
            if any(_variable(s) is not None for s, _ in reader.next_functions):
                return True
            seen.add(reader)
            stack.append(reader)
    return False
