# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots of the records of one training, or of several on the same axes."""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from .records import SHARES, Records, part_of_layer, stage_of_layer

STATISTICS = {'mean': 'means', 'var': 'variances'}
WIDTH, DPI = 3.8, 180  # inches per panel: as wide as a phone


class Number(NamedTuple):
    """How a number of NormStats is shown: its title, unit and scale."""

    title: str
    unit: str
    scale: float = 1.0


NUMBERS = {
    'dead': Number('Dead channels', '% of channels', 100.0),
    'bn_mean': Number(
        'Distance of the means from those of BN', '|mean − bias| / |weight|'
    ),
    'bn_std': Number(
        'Distance of the standard deviations from those of BN',
        '|log(deviation / |weight|)|',
    ),
    'gap_mean': Number(
        'Gap of the running means', 'running standard deviations'
    ),
    'gap_std': Number(
        'Gap of the running standard deviations', '|log(batch / running)|'
    ),
}


class Panel(NamedTuple):
    """One plot: what it shows in words, and a function that draws it."""

    alt: str
    draw: Callable[[Axes], None]


class Picture(NamedTuple):
    """Panels that belong together.

    Attributes:
        name: A name for files.
        title: A title.
        panels: The panels, row by row.
        columns: Panels per row.
        height: The height of a panel, in inches.
        keys: The numbers of the records that it shows.
        runs: The trainings that it shows.
    """

    name: str
    title: str
    panels: list[Panel]
    columns: int
    height: float
    keys: tuple[str, ...]
    runs: list[Records]


def pictures(runs: list[Records]) -> list[Picture]:
    """Return the pictures of some trainings, without drawing them.

    Args:
        runs: The records of the trainings.
    """
    numbers = [_picture(key, runs) for key in NUMBERS if _having(key, runs)]
    return numbers + [_shares(run) for run in _having('mean_in', runs)]


def save_png(picture: Picture, file: str | Path) -> None:
    """Draw a picture with its title, and save it as a PNG.

    Args:
        picture: The picture.
        file: The file to write.
    """
    columns, panels = picture.columns, picture.panels
    figure = _draw(panels, columns, picture.height, picture.title)
    figure.savefig(file, dpi=DPI, format='png')


def png_of(panel: Panel, height: float) -> bytes:
    """Return one panel as a PNG.

    Args:
        panel: The panel.
        height: Its height, in inches.
    """
    file = BytesIO()
    _draw([panel], 1, height).savefig(file, dpi=DPI, format='png')
    return file.getvalue()


def _draw(
    panels: list[Panel], columns: int, height: float, title: str | None = None
) -> Figure:
    rows = -(-len(panels) // columns)
    size = (WIDTH * columns, height * rows)
    with rc_context({'font.size': 8, 'axes.titlesize': 9}):
        figure = Figure(figsize=size, layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax, panel in zip(axes.flat, panels, strict=True):
            panel.draw(ax)
        figure.suptitle(title, fontsize=11)
        return figure


def _having(key: str, runs: Iterable[Records]) -> list[Records]:
    return [run for run in runs if key in run.numbers]


def _picture(key: str, runs: list[Records]) -> Picture:
    number, runs = NUMBERS[key], _having(key, runs)
    rows = _rows(key, runs)
    stages = list(dict.fromkeys(map(stage_of_layer, rows)))
    end = max(run.steps[-1] for run in runs)
    means = [
        mean
        for run in runs
        for mean in run.grouped(key, stage_of_layer).values()
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
    columns = len(runs)
    return Picture(key, number.title, panels, columns, height, (key,), runs)


def _shares(run: Records) -> Picture:
    panels = [
        Panel(
            f'{run.name}: shares of the {word} of {part} over training',
            partial(_shares_over_training, run, kind, part),
        )
        for part in run.grouped('mean_in', part_of_layer)
        for kind, word in STATISTICS.items()
    ] + [
        Panel(
            f'{run.name}: shares of the {word} of each layer at the end',
            partial(_shares_of_layers, run, kind),
        )
        for kind, word in STATISTICS.items()
    ]
    return Picture(
        f'shares_{run.name.strip("/").replace("/", "_")}',
        f'Shares of IN, LN and BN: {run.name}',
        panels,
        len(STATISTICS),
        2.8,
        tuple(k for k in run.numbers if k.startswith(('mean_', 'var_'))),
        [run],
    )


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
        cmap='YlOrRd',
        vmin=0,
        vmax=top * number.scale,
    )
    ax.set_facecolor('silver')  # not recorded
    is_clipped = np.nanmax(values, initial=0) > top
    ax.figure.colorbar(
        mesh, ax=ax, label=number.unit, extend='max' if is_clipped else None
    )
    _name_stages(ax.set_yticks, ax.axhline, rows)
    ax.set(xlabel='step', xlim=(0, end))
    _entitle(ax, run, 'each layer')
    ax.invert_yaxis()


def _name_stages(
    set_ticks: Callable, draw_line: Callable, rows: list[str]
) -> None:
    stages = np.array([stage_of_layer(layer) for layer in rows])
    names = list(dict.fromkeys(stages.tolist()))
    middles = [np.flatnonzero(stages == name).mean() + 0.5 for name in names]
    set_ticks(middles, names, fontsize=7)
    for row in np.flatnonzero(stages[1:] != stages[:-1]) + 1:
        draw_line(row, color='black', linewidth=0.6)


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
        xlabel='step',
        ylabel=number.unit,
        xlim=(0, end),
        ylim=(-0.03 * top * number.scale, 1.05 * top * number.scale),
    )
    _entitle(ax, run, 'mean over the layers of a stage')
    ax.grid(alpha=0.3)
    if not means:
        return
    # Below the label of the axis, whatever the height of the axes.
    down = ScaledTranslation(0, -0.45, ax.figure.dpi_scale_trans)
    ax.legend(
        fontsize=7,
        ncols=2,
        loc='upper center',
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + down,
    )


def _shares_over_training(
    run: Records, kind: str, part: str, ax: Axes
) -> None:
    below = np.zeros(len(run.steps))
    for index, share in enumerate(SHARES):
        means = run.grouped(f'{kind}_{share}', part_of_layer)
        if part in means:
            above = below + np.nan_to_num(means[part]) * 100
            ax.fill_between(
                run.steps,
                below,
                above,
                label=share.upper(),
                color=f'C{index}',
            )
            below = above
    _entitle(ax, run, f'{STATISTICS[kind]} of {part}')
    _finish_shares(ax)
    ax.set(xlabel='step', xlim=(run.steps[0], run.steps[-1]))


def _shares_of_layers(run: Records, kind: str, ax: Axes) -> None:
    known = np.isfinite(run.numbers['mean_in']).any(0)
    rows = [run.layers[index] for index in np.flatnonzero(known)]
    places, below = np.arange(len(rows)) + 0.5, np.zeros(len(rows))
    for index, share in enumerate(SHARES):
        if f'{kind}_{share}' in run.numbers:
            values = run.numbers[f'{kind}_{share}'][-1, known]
            height = np.nan_to_num(values) * 100
            style = {'label': share.upper(), 'color': f'C{index}'}
            ax.bar(places, height, width=1, bottom=below, **style)
            below += height
    _entitle(ax, run, f'{STATISTICS[kind]} of each layer, at the end')
    _finish_shares(ax)
    _name_stages(ax.set_xticks, ax.axvline, rows)
    for label in ax.get_xticklabels():
        label.set(rotation=40, ha='right', rotation_mode='anchor')
    ax.set(xlabel='layers, by stage', xlim=(0, len(rows)))


def _finish_shares(ax: Axes) -> None:
    ax.set(ylabel='share (%)', ylim=(0, 100))
    right = {'loc': 'center left', 'bbox_to_anchor': (1.0, 0.5)}
    ax.legend(fontsize=7, reverse=True, **right)


def _entitle(ax: Axes, run: Records, what: str) -> None:
    # A work dir has the long name of its config by default.
    ax.set_title('\n'.join([*wrap(run.name, 36), what]))
