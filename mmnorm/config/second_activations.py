# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the activations that follow a norm which is an activation itself."""

from torch import nn

from mmnorm.layers import FRN, EvoNormB0, EvoNormS0

OWN = (EvoNormB0, EvoNormS0, FRN)
ACTIVATIONS = (
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
)


def second_activations(model: nn.Module) -> str | None:
    """Say which modules apply an activation behind a norm that is one.

    These modules are an ``nn.Sequential``, a ``ConvModule`` of mmcv, or a
    block of a ResNet, which hold a norm and an activation side by side.

    Args:
        model: A model with any norms.

    Returns:
        One sentence, or None if there is no such module.

    Example::

        >>> model = nn.Sequential(EvoNormS0(32), nn.ReLU())
        >>> second_activations(model).split(',')[0]
        'the activation ReLU follows EvoNormS0'
    """
    found = []
    for name, module in model.named_modules():
        children = list(module.children())
        norms = [m for m in children if isinstance(m, OWN)]
        others = [m for m in children if isinstance(m, ACTIVATIONS)]
        if norms and others:
            found.append((name, norms[0], others[0]))
    if not found:
        return None
    name, norm, activation = found[0]
    modules = 'module' if len(found) == 1 else 'modules'
    return (
        f'the activation {type(activation).__name__} follows '
        f'{type(norm).__name__}, which is one, in {len(found)} {modules}, the '
        f'first of them {name or "the model"!r}: set act_cfg=None where the '
        'part of the model takes it, and expect other results than those of '
        'the paper where it does not, as in the blocks of ResNet'
    )
