# Copyright (c) mmnorm contributors. All rights reserved.
"""Read what NormStatsHook has recorded of a training."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

SCALARS = 'vis_data/scalars.json'
HOOK = "custom_hooks = [dict(type='mmnorm.NormStatsHook')]"
# mmdet names a layer after its norm: bn1 and gn1 are at the same place.
ABBREVIATION = re.compile(r'\b(?:[bgil]n|gw|ic|frn|evonorm|norm_layer)(\d*)$')


class RecordsError(ValueError):
    """A work dir that has no records to read, described in one sentence."""


class Records(NamedTuple):
    """The records of one training.

    Attributes:
        name: The name of the training.
        steps: The step of each record, shape (S,).
        layers: The places of the norms, in the order of the model: names
            with ``norm1`` for ``bn1`` and ``gn1``.
        numbers: Values by the names of
            :class:`mmnorm.analysis.norm_stats.NormStats`, each of shape
            (S, L), with NaN where a layer has no value.
        config: The config that the training has written.
    """

    name: str
    steps: np.ndarray
    layers: list[str]
    numbers: dict[str, np.ndarray]
    config: Path

    def grouped(
        self, key: str, group_of: Callable[[str], str]
    ) -> dict[str, np.ndarray]:
        """Return the mean of a number over the layers of each group.

        Args:
            key: The name of the number.
            group_of: A function that returns the group of a layer.

        Returns:
            Arrays of shape (S,) by group, of the groups with any value.
        """
        if key not in self.numbers:
            return {}
        groups = np.array([group_of(layer) for layer in self.layers])
        means = {
            str(group): _mean(self.numbers[key][:, groups == group])
            for group in dict.fromkeys(groups)
        }
        return {g: mean for g, mean in means.items() if not _is_empty(mean)}


def read_records(work_dir: Path, name: str | None = None) -> Records:
    """Read the records of the newest training in a work dir.

    A training that was resumed is joined with the trainings that it goes on
    from: their records count up to its first step.

    Args:
        work_dir: The work dir of the training.
        name: The name to give to the training, by default that of its folder.

    Raises:
        RecordsError: If there is no such folder, or nothing to read in it.
    """
    if not work_dir.is_dir():
        raise RecordsError(f'work dir {str(work_dir)!r} is not a folder')
    files = sorted(work_dir.glob(f'*/{SCALARS}'))
    if not files:
        raise RecordsError(
            f'work dir {str(work_dir)!r} holds no */{SCALARS}: name the work '
            'dir of a training'
        )
    runs = [_read(file) for file in files]
    if len(runs) > 1 and not runs[-1] and _has_hook(files[-1]):
        # A training that was resumed has made no record yet.
        end = _first_step(files[-1])
        runs = [[line for line in run if line[0] < end] for run in runs[:-1]]
    if not runs[-1]:
        raise RecordsError(
            f'{str(files[-1])!r} has no records of norms: train with {HOOK}'
        )
    lines = _join(runs)
    layers, keys = {}, {}
    for _, values in lines:
        layers |= dict.fromkeys(layer for layer, _ in values)
        keys |= dict.fromkeys(key for _, key in values)
    places = [ABBREVIATION.sub(r'norm\1', layer) for layer in layers]
    numbers = {
        key: np.array(
            [
                [values.get((layer, key), np.nan) for layer in layers]
                for _, values in lines
            ]
        )
        for key in keys
    }
    return Records(
        name or work_dir.resolve().name,
        np.array([step for step, _ in lines]),
        places,
        numbers,
        files[-1].parent / 'config.py',
    )


def part_of_layer(layer: str) -> str:
    """Return the part of a model that has a layer: the backbone, a head.

    Example::

        >>> part_of_layer('roi_head.mask_head.convs.0.norm')
        'roi_head.mask_head'
    """
    names = layer.split('.')
    heads = [i for i, name in enumerate(names) if name.endswith('_head')]
    return '.'.join(names[: heads[-1] + 1]) if heads else names[0]


def stage_of_layer(layer: str) -> str:
    """Return the stage of a backbone, or another part, that has a layer.

    Example::

        >>> stage_of_layer('backbone.layer4.1.norm2')
        'backbone.layer4'
        >>> stage_of_layer('backbone.norm1'), stage_of_layer('neck.0.norm')
        ('backbone stem', 'neck')
    """
    part = part_of_layer(layer)
    if part != 'backbone':
        return part
    found = re.match(r'backbone\.[^.]*?\.?\d+(?=\.)', layer)
    return found[0] if found else 'backbone stem'


Line = tuple[int, dict[tuple[str, str], float]]


def _read(file: Path) -> list[Line]:
    try:
        # A training that writes now may have written half of the last line.
        *texts, _ = file.read_text(encoding='utf-8').split('\n')
    except OSError as error:
        raise RecordsError(
            f'{str(file)!r} cannot be read: {error.strerror}'
        ) from error
    except UnicodeDecodeError as error:
        raise RecordsError(f'{str(file)!r} is no text file') from error
    found = []
    for number, text in enumerate(texts, 1):
        try:
            step, values = _parse(text)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordsError(
                f'line {number} of {str(file)!r} is no line of scalars: '
                'remove it'
            ) from error
        if values:
            found.append((step, values))
    return found


def _has_hook(file: Path) -> bool:
    config = file.with_name('config.py')
    return config.is_file() and 'NormStatsHook' in config.read_text()


def _first_step(file: Path) -> int:
    first, _, _ = file.read_text(encoding='utf-8').partition('\n')
    return int(json.loads(first).get('step', 0)) if first else 0


def _parse(text: str) -> Line:
    values, scalars = {}, json.loads(text)
    for key, value in scalars.items():
        if key.startswith('norm/'):
            _, layer, number = key.split('/')
            values[layer, number] = float(value)
    return int(scalars['step']) if values else 0, values


def _join(runs: list[list[Line]]) -> list[Line]:
    joined: list[Line] = []
    for run in reversed(runs):
        end = joined[0][0] if joined else float('inf')
        joined = [line for line in run if line[0] < end] + joined
        if _is_first(joined):
            break
    return joined


def _is_first(lines: list[Line]) -> bool:
    # The first record of a training is within its first interval.
    steps = [step for step, _ in lines[:2]]
    return len(steps) == 2 and steps[0] <= steps[1] - steps[0]


def _mean(values: np.ndarray) -> np.ndarray:
    count = np.isfinite(values).sum(1)
    total = np.where(np.isfinite(values), values, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _is_empty(values: np.ndarray) -> bool:
    return not np.isfinite(values).any()
