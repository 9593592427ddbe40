# Copyright (c) mmnorm contributors. All rights reserved.
"""Look the names of a config up in the registries."""

from collections.abc import Iterable
from difflib import get_close_matches

from mmengine.registry import Registry


def registered(
    registry: Registry, name: str, scope: str | None
) -> type | None:
    """Return the class that a ``type`` of a config means, or None.

    Args:
        registry: A registry of mmengine.
        name: The ``type``.
        scope: ``default_scope`` of the config.
    """
    with registry.switch_scope_and_registry(scope) as scoped:
        try:
            return scoped.get(name)
        except RuntimeError:  # mmengine takes the name for that of a module
            return None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the names that are most like another name, for a sentence."""
    by_lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0)
    *first, last = (repr(by_lower[known]) for known in close)
    return f'{", ".join(first)} or {last}' if first else last
