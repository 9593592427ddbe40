# Copyright (c) mmnorm contributors. All rights reserved.
"""A model with its config, and where its norms are."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mmengine.config import Config
from torch import Tensor, nn

from mmnorm.config.model_parts import find_parts

from .norm_states import NormState


class Subject(NamedTuple):
    """A model, as its config lets a training see it.

    Attributes:
        model: The model, after ``model.train()``.
        cfg: The config.
        states: The state of each norm, by its name.
        weights: The state dict that is loaded into the model, or None.
        calls: How often a head calls each norm in one forward, by name.
    """

    model: nn.Module
    cfg: Config
    states: dict[str, NormState]
    weights: dict[str, Tensor] | None
    calls: dict[str, int]

    def start_of(self, part: str) -> str | None:
        """Return the name of the weights that a part starts from."""
        init_cfg = self.part_cfg(part).get('init_cfg')
        if isinstance(init_cfg, dict) and 'checkpoint' in init_cfg:
            return init_cfg['checkpoint']
        return self.cfg.model.get('pretrained') if part == 'backbone' else None

    def part_cfg(self, part: str) -> dict:
        """Return the config of a part, or of the first of its members."""
        node = dict(find_parts(self.cfg.model)).get(part, {})
        return node if isinstance(node, dict) else node[0]

    def is_loaded(self, name: str) -> bool:
        """Return whether weights of a norm come from anywhere."""
        if self.weights is not None:
            return any(key.startswith(f'{name}.') for key in self.weights)
        start = self.start_of(part_of(name, self.cfg))
        return bool(start or self.cfg.get('load_from'))

    def by_part(
        self, holds: Callable[[NormState], bool]
    ) -> Iterator[tuple[str, list[str], str]]:
        """Yield each part, its norms, and text as "53 SyncBN of backbone".

        Args:
            holds: Whether a norm is meant.
        """
        parts: dict[str, list[str]] = {}
        for name in (n for n, state in self.states.items() if holds(state)):
            parts.setdefault(part_of(name, self.cfg), []).append(name)
        for part, found in parts.items():
            types = sorted({self.states[name].type for name in found})
            yield part, found, f'{len(found)} {" and ".join(types)} of {part}'


def is_in(name: str, part: str) -> bool:
    """Return whether a layer is in a part of a model, by their names."""
    return name == part or name.startswith(f'{part}.')


def part_of(name: str, cfg: Config) -> str:
    """Return the path of the part of a model that has a layer.

    Args:
        name: The name of the layer.
        cfg: The config of the model.
    """
    paths = [path for path, _ in find_parts(cfg.model) if is_in(name, path)]
    return max(paths, key=len, default=name.partition('.')[0])
