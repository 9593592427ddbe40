# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots of a study: a metric over images per step, or by setting."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .plan import Cell
from .series import Series, over_images

Interval = Callable[[np.ndarray], tuple[float, float, float]]


def draw(
    panels: dict[str, tuple[str, list[Series]]],
    interval: Interval,
    path: Path,
) -> None:
    """Draw the panels of a study side by side.

    Args:
        panels: The metric and the series of each title.
        interval: A function that returns a mean and the ends of its
            interval.
        path: The file to write.
    """
    width = 6.5 * len(panels)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width, 4), squeeze=False
    )
    for ax, (title, (metric, series)) in zip(
        axes[0], panels.items(), strict=True
    ):
        filled = [
            Series(cell, values[np.isfinite(values)])
            for cell, values in series
            if np.isfinite(values).any()
        ]
        sizes = {cell.images_per_step for cell, _ in filled}
        if len(sizes) > 1:
            _over_images(ax, series, interval, metric)
        else:
            _by_setting(ax, filled, interval, metric)
        ax.set_title(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def label_of(cell: Cell) -> str:
    """Return the norm and the setting of a cell, as a label."""
    parts = [cell.norm]
    if cell.setting != 'default':
        parts.append(cell.setting)
    if cell.processes > 1:
        parts.append(f'{cell.processes} processes')
    return ', '.join(parts)


def _over_images(
    ax: Axes, series: list[Series], interval: Interval, metric: str
) -> None:
    # A line and a band per norm at the learning rate that the plan lists
    # first, and a dashed line at the best one, if the study tries several.
    for label, points in over_images(series, label_of).items():
        sizes = list(points)
        first, best = zip(*points.values(), strict=True)
        mean, low, high = np.array([interval(s.values) for s in first]).T
        (line,) = ax.plot(sizes, mean, marker='o', label=label)
        color = line.get_color()
        ax.fill_between(sizes, low, high, alpha=0.2, color=color)
        if [one.cell for one in best] != [one.cell for one in first]:
            means = [interval(one.values)[0] for one in best]
            ax.plot(sizes, means, '--', marker='.', color=color)
    ax.set_xscale('log', base=2)
    sizes = sorted({cell.images_per_step for cell, _ in series})
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set(xlabel='images per step', ylabel=metric)
    ax.legend(fontsize='small')


def _by_setting(
    ax: Axes, series: list[Series], interval: Interval, metric: str
) -> None:
    # A row per series: each run is a dot, the bar is the interval.
    for row, (_, values) in enumerate(series):
        mean, low, high = interval(values)
        ax.hlines(row, low, high, color='tab:blue', linewidth=6, alpha=0.3)
        ax.plot(values, [row] * len(values), 'o', color='black', markersize=3)
        ax.plot(mean, row, '|', color='tab:blue', markersize=14)
    names = [label_of(cell) for cell, _ in series]
    labels = [
        f'{name}, lr {cell.lr}' if names.count(name) > 1 else name
        for name, (cell, _) in zip(names, series, strict=True)
    ]
    ax.set_yticks(range(len(series)), labels)
    ax.invert_yaxis()
    ax.set_xlabel(metric)
    ax.grid(axis='x', alpha=0.3)
