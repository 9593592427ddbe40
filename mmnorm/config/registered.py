# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the classes that the names in a config stand for."""

from collections.abc import Iterable
from difflib import get_close_matches

from mmengine.registry import Registry


def registered(
    registry: Registry, name: str, scope: str | None
) -> type | None:
    """Return the class that a ``type`` in a config stands for, or None.

    Args:
        registry: A registry of mmengine.
        name: The ``type``.
        scope: ``default_scope`` of the config.
    """
    with registry.switch_scope_and_registry(scope) as scoped:
        try:
            return scoped.get(name)
        except RuntimeError:  # mmengine also looks for a module of this name
            return None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the three most similar names, as text for a sentence."""
    by_lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0)
    *first, last = (repr(by_lower[known]) for known in close)
    return f'{", ".join(first)} or {last}' if first else last
