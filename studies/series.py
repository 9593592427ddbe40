# Copyright (c) mmnorm contributors. All rights reserved.
"""The runs of a norm over its seeds, their mean and its interval."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

from .plan import Cell, Plan


class Series(NamedTuple):
    """The runs of one norm and setting, by seed; NaN is not trained yet."""

    cell: Cell  # of the first seed
    values: np.ndarray


def series_of(plan: Plan, rows: dict, task: dict, metric: str) -> list[Series]:
    """Return the series of a task's metric in the order of the plan."""
    runs: dict[Cell, list[float]] = {}
    for cell in plan.cells:
        if (cell.network, cell.data) != (task['network'], task['data']):
            continue
        row = rows.get((cell, metric))
        value = np.nan if row is None else row['value']
        runs.setdefault(cell._replace(seed=0), []).append(value)
    return [Series(cell, np.array(values)) for cell, values in runs.items()]


def over_images(
    series: Iterable[Series], label_of: Callable[[Cell], str]
) -> dict[str, dict[int, tuple[Series, Series]]]:
    """Return two series per label and number of images, if any is trained.

    The first has the learning rate that the plan lists first, which is that
    of the linear rule, also if nobody has trained it yet. The second has the
    rate that is best with seed 0.
    """
    rates: dict[str, dict[int, list[Series]]] = {}
    for one in series:
        sizes = rates.setdefault(label_of(one.cell), {})
        sizes.setdefault(one.cell.images_per_step, []).append(one)
    pairs = {
        label: {
            size: (found[0], max(found, key=_first_run))
            for size, found in sorted(sizes.items())
            if any(np.isfinite(one.values).any() for one in found)
        }
        for label, sizes in rates.items()
    }
    return {label: sizes for label, sizes in pairs.items() if sizes}


def _first_run(one: Series) -> float:
    return next(iter(one.values[np.isfinite(one.values)]), -np.inf)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean, and the ends of its bootstrap interval of 95 %.

    The ends are NaN with fewer than two values.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return (*values, *[np.nan] * 3)[:3]
    if np.ptp(values) == 0:
        return values[0], values[0], values[0]
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=9999,
        method='percentile',
        rng=np.random.default_rng(0),
    ).confidence_interval
    return values.mean(), found.low, found.high


def digits_of(metric: str) -> int:
    """Return the digits after the point: AP is a share, mIoU in percent."""
    return 3 if metric.endswith('AP') else 1


def with_interval(values: np.ndarray, metric: str, sign: str = '') -> str:
    """Format a mean with its interval."""
    form = f'{sign}.{digits_of(metric)}f'
    mean, low, high = interval(values)
    if np.isnan(mean):
        return '–'
    if np.isnan(low):
        return f'{mean:{form}}'
    return f'{mean:{form}} [{low:{form}}, {high:{form}}]'


def tasks_of(plan: Plan) -> dict[str, dict]:
    """Return the tasks of a plan by their titles."""
    used = dict.fromkeys((cell.network, cell.data) for cell in plan.cells)
    return {f'{key[0]} on {key[1]}': plan.tasks[key] for key in used}
