# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the parts of a model that may take a norm."""

import inspect
from collections.abc import Iterator

from mmengine.registry import MODELS
from torch import nn

from .registered import registered


def find_parts(cfg: dict, prefix: str = '') -> Iterator[tuple[str, dict]]:
    """Yield the backbone, neck and heads of a model, or lists of them.

    Args:
        cfg: The model.
        prefix: The path of the model in a larger model, with a dot.
    """
    for key, value in cfg.items():
        if key not in ('backbone', 'neck') and not key.endswith('_head'):
            continue
        path = prefix + key
        if isinstance(value, dict):
            # Heads of SOLOv2 hold keywords of their own parts, with no type.
            inner = [
                part
                for part in find_parts(value, f'{path}.')
                if 'type' in part[1] or not isinstance(part[1], dict)
            ]
            yield from inner or [(path, value)]
        elif isinstance(value, (list, tuple)):
            yield path, value


def argument(cls: type, name: str) -> inspect.Parameter | None:
    """Return an argument of a class, or None if the class refuses it.

    Args:
        cls: The class. If the class passes other keywords to a base, the
            arguments of the base count too.
        name: Name of the argument.
    """
    for base in cls.__mro__:
        if '__init__' in vars(base):
            taken = inspect.signature(base.__init__).parameters
            if name in taken:
                return taken[name]
            if all(p.kind != p.VAR_KEYWORD for p in taken.values()):
                return None
    return None


def default_norm(part: dict, scope: str | None) -> str | None:
    """Return the type of the norms that a part of a model has, if any.

    Args:
        part: The config of the part.
        scope: ``default_scope`` of the config.
    """
    cls = registered(MODELS, part['type'], scope)
    taken = argument(cls, 'norm_cfg') if cls else None
    default = taken.default if taken else None
    norm_cfg = part.get('norm_cfg', default)
    return norm_cfg.get('type') if isinstance(norm_cfg, dict) else None


def is_layer_norm(name: str, part: dict, scope: str | None) -> bool:
    """Return whether a norm in a part of a model is a LayerNorm of tokens.

    Args:
        name: The type of the norm.
        part: The config of the part.
        scope: ``default_scope`` of the config.
    """
    package = part['type'].rpartition('.')[0]
    cls = registered(MODELS, name, package or scope)
    return isinstance(cls, type) and issubclass(cls, nn.LayerNorm)
