# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the layer where numbers stop being finite."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten


def first_non_finite(
    model: nn.Module, forward: Callable[[], object]
) -> str | None:
    """Return in words where a forward first makes a number that is not finite.

    A parameter counts before the layers that read it. Layers inside of other
    layers count before these.

    Args:
        model: The model; the forward may move its statistics.
        forward: A function that runs the model.

    Returns:
        Words such as ``"the output of 'backbone.conv1'"``, or None.

    Example::

        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> _ = nn.init.constant_(model[0].weight, float('nan'))
        >>> first_non_finite(model, lambda: model(torch.ones(1, 2)))
        "the parameter '0.weight'"
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f'the parameter {name!r}'
    found: list[str] = []
    handles = []

    def check(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            for kind, values in (('input', args), ('output', output)):
                if not found and not _is_finite(values):
                    found.append(f'the {kind} of {name!r}')

        return hook

    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_hook(check(name)))
    try:
        # The forward runs to its end: norms of other processes wait for it.
        forward()
    except Exception:
        # Code behind the layer may refuse such numbers.
        if not found:
            raise
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _is_finite(values: object) -> bool:
    return all(
        bool(leaf.isfinite().all())
        for leaf in tree_flatten(values)[0]
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    )
