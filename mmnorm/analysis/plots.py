# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots of the records of one training, or of several on the same axes."""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import BinaryIO, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .records import Records, part_of_layer, stage_of_layer

SHARES = ('in', 'ln', 'bn')
STATISTICS = {'mean': 'means', 'var': 'variances'}
WIDTH, DPI = 4.6, 130  # inches per panel; about as wide as a phone


class Number(NamedTuple):
    """How a number of NormStats is shown: its title, unit and scale."""

    title: str
    unit: str
    scale: float = 1.0


NUMBERS = {
    'dead': Number('Dead channels', '% of channels', 100.0),
    'bn_mean': Number('Distance of means from BN', 'units of the weight'),
    'bn_std': Number('Distance of deviations from BN', '|log of the ratio|'),
    'gap_mean': Number('Gap of running means', 'running deviations'),
    'gap_std': Number('Gap of running deviations', '|log of the ratio|'),
}


class Panel(NamedTuple):
    """One plot: what it shows in words, and a function that draws it."""

    alt: str
    draw: Callable[[Axes], None]


class Picture(NamedTuple):
    """Panels that belong together, with a name for files and a title."""

    name: str
    title: str
    panels: list[Panel]
    columns: int
    height: float


def pictures(runs: list[Records]) -> list[Picture]:
    """Return the pictures of some trainings, without drawing them.

    Args:
        runs: The records of the trainings.
    """
    found = [_picture(key, runs) for key in NUMBERS if _having(key, runs)]
    for run in _having('mean_in', runs):
        parts = dict.fromkeys(map(part_of_layer, run.layers))
        over_time = [
            Panel(
                f'{run.name}: shares of the {word} of {part} over training',
                partial(_shares_over_training, run, kind, part),
            )
            for part in parts
            if part in run.grouped('mean_in', part_of_layer)
            for kind, word in STATISTICS.items()
        ]
        final = [
            Panel(
                f'{run.name}: shares of the {word} of each layer at the end',
                partial(_shares_of_layers, run, kind),
            )
            for kind, word in STATISTICS.items()
        ]
        title = f'What {run.name} normalizes with'
        name = f'shares_{run.name}'.replace('/', '_')
        found.append(Picture(name, title, over_time + final, 2, 2.8))
    return found


def save_png(
    panels: list[Panel], columns: int, height: float, file: str | BinaryIO
) -> None:
    """Draw panels in rows, and save them as a PNG.

    Args:
        panels: The panels.
        columns: Panels per row.
        height: The height of a panel, in inches.
        file: A path, or a file to write to.
    """
    with matplotlib.rc_context({'font.size': 9, 'axes.titlesize': 10}):
        columns = min(columns, len(panels))
        rows = -(-len(panels) // columns)
        size = (WIDTH * columns, height * rows)
        figure = Figure(figsize=size, layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for ax, panel in zip(axes, panels, strict=False):
            panel.draw(ax)
        for ax in list(axes)[len(panels) :]:
            ax.set_axis_off()
        figure.savefig(file, dpi=DPI, format='png')


def png_of(panel: Panel, height: float) -> bytes:
    """Return one panel as a PNG.

    Args:
        panel: The panel.
        height: Its height, in inches.
    """
    file = BytesIO()
    save_png([panel], 1, height, file)
    return file.getvalue()


def _having(key: str, runs: Iterable[Records]) -> list[Records]:
    return [run for run in runs if key in run.numbers]


def _picture(key: str, runs: list[Records]) -> Picture:
    number, runs = NUMBERS[key], _having(key, runs)
    rows = _rows(key, runs)
    stages = list(dict.fromkeys(map(stage_of_layer, rows)))
    end = max(run.steps[-1] for run in runs)
    means = [
        mean for run in runs for mean in run.grouped(key, stage_of_layer).values()
    ]
    # One bad value must not hide all others.
    top = _top([run.numbers[key] for run in runs], 99)
    highest = _top(means, 100)
    panels = [
        Panel(
            f'{run.name}: {number.title} of each layer over training',
            partial(_heat_map, run, key, rows, top, end),
        )
        for run in runs
    ] + [
        Panel(
            f'{run.name}: {number.title} of each stage over training',
            partial(_lines, run, key, stages, highest, end),
        )
        for run in runs
    ]
    height = max(3.4, 0.045 * len(rows) + 1)
    return Picture(key, number.title, panels, len(runs), height)


def _top(arrays: list[np.ndarray], percent: float) -> float:
    values = np.concatenate([a[np.isfinite(a)] for a in arrays] + [[0.01]])
    return max(float(np.percentile(values, percent)), 0.01)


def _rows(key: str, runs: list[Records]) -> list[str]:
    # The layers with this number in any run, sorted by stage.
    rows: dict[str, str] = {}
    for run in runs:
        known = np.isfinite(run.numbers[key]).any(0)
        for layer, is_known in zip(run.layers, known, strict=True):
            if is_known:
                rows[layer] = stage_of_layer(layer)
    order = list(dict.fromkeys(rows.values()))
    return sorted(rows, key=lambda layer: order.index(rows[layer]))


def _heat_map(
    run: Records, key: str, rows: list[str], top: float, end: int, ax: Axes
) -> None:
    number = NUMBERS[key]
    values = np.full((len(rows), len(run.steps)), np.nan)
    for column, layer in enumerate(run.layers):
        if layer in rows:
            values[rows.index(layer)] = run.numbers[key][:, column]
    middle = (run.steps[1:] + run.steps[:-1]) / 2
    edges = np.concatenate([[0], middle, [run.steps[-1]]])
    mesh = ax.pcolormesh(
        edges,
        np.arange(len(rows) + 1),
        np.ma.masked_invalid(values * number.scale),
        cmap='viridis',
        vmin=0,
        vmax=top * number.scale,
    )
    ax.set_facecolor('lightgray')  # not recorded
    is_clipped = np.nanmax(values, initial=0) > top
    ax.figure.colorbar(
        mesh, ax=ax, label=number.unit, extend='max' if is_clipped else None
    )
    _name_stages(ax.set_yticks, ax.axhline, rows)
    ax.set(title=f'{run.name}: each layer', xlabel='step', xlim=(0, end))
    ax.invert_yaxis()


def _name_stages(
    set_ticks: Callable, line: Callable, rows: list[str]
) -> None:
    stages = np.array([stage_of_layer(layer) for layer in rows])
    names = list(dict.fromkeys(stages.tolist()))
    middles = [np.flatnonzero(stages == name).mean() + 0.5 for name in names]
    set_ticks(middles, names, fontsize=7)
    for row in np.flatnonzero(stages[1:] != stages[:-1]) + 1:
        line(row, color='white', linewidth=1)


def _lines(
    run: Records, key: str, stages: list[str], top: float, end: int, ax: Axes
) -> None:
    number = NUMBERS[key]
    means = run.grouped(key, stage_of_layer)
    for index, stage in enumerate(stages):
        if stage in means:
            style = {'color': f'C{index % 10}', 'marker': 'osv^D'[index % 5]}
            scaled = means[stage] * number.scale
            ax.plot(run.steps, scaled, label=stage, markersize=3, **style)
    ax.set(
        title=f'{run.name}: mean over the layers of a stage',
        xlabel='step',
        ylabel=number.unit,
        xlim=(0, end),
        ylim=(-0.03 * top * number.scale, 1.05 * top * number.scale),
    )
    ax.grid(alpha=0.3)
    ax.legend(
        fontsize=7, ncols=2, loc='upper center', bbox_to_anchor=(0.5, -0.2)
    )


def _shares_over_training(
    run: Records, kind: str, part: str, ax: Axes
) -> None:
    shares = [
        run.grouped(f'{kind}_{share}', part_of_layer)[part]
        for share in SHARES
        if part in run.grouped(f'{kind}_{share}', part_of_layer)
    ]
    labels = [share.upper() for share in SHARES]
    ax.stackplot(run.steps, np.array(shares) * 100, labels=labels)
    _finish_shares(ax, f'{run.name}: {STATISTICS[kind]} of {part}', 'step')
    ax.set_xlim(run.steps[0], run.steps[-1])


def _shares_of_layers(run: Records, kind: str, ax: Axes) -> None:
    known = np.isfinite(run.numbers['mean_in'][-1])
    rows = [x for x, is_known in zip(run.layers, known, strict=True) if is_known]
    below = np.zeros(len(rows))
    for share in SHARES:
        values = run.numbers.get(f'{kind}_{share}')
        if values is not None:
            height = np.nan_to_num(values[-1, known]) * 100
            ax.bar(
                np.arange(len(rows)) + 0.5,
                height,
                width=1,
                bottom=below,
                label=share.upper(),
            )
            below += height
    title = f'{run.name}: {STATISTICS[kind]}, each layer at the end'
    _finish_shares(ax, title, '')
    _name_stages(ax.set_xticks, ax.axvline, rows)
    ax.tick_params('x', rotation=40)
    for label in ax.get_xticklabels():
        label.set_horizontalalignment('right')
    ax.set_xlim(0, len(rows))


def _finish_shares(ax: Axes, title: str, xlabel: str) -> None:
    ax.set(title=title, xlabel=xlabel, ylabel='share (%)', ylim=(0, 100))
    ax.legend(loc='upper left', fontsize=7, framealpha=0.8)
