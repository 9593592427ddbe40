# Copyright (c) mmnorm contributors. All rights reserved.
"""Draw the records of one training on axes."""

from collections.abc import Callable
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from .norm_stats import SHARES
from .records import Records, part_of_layer, stage_of_layer

STATISTICS = {'mean': 'means', 'var': 'variances'}


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


def heat_map(
    run: Records, key: str, rows: list[str], top: float, end: int, ax: Axes
) -> None:
    """Draw a number of each layer over training, as colors.

    Args:
        run: The records of a training.
        key: The name of the number.
        rows: The layers to show, sorted by stage.
        top: The value of the darkest color.
        end: The last step of the axis.
        ax: Where to draw.
    """
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


def lines(
    run: Records, key: str, stages: list[str], top: float, end: int, ax: Axes
) -> None:
    """Draw the mean of a number over the layers of each stage.

    Args:
        run: The records of a training.
        key: The name of the number.
        stages: The stages that have a color, in order.
        top: The highest value of the axis.
        end: The last step of the axis.
        ax: Where to draw.
    """
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


def shares_over_training(run: Records, kind: str, part: str, ax: Axes) -> None:
    """Draw the shares of IN, LN and BN in a part of a model, as areas.

    Args:
        run: The records of a training.
        kind: ``'mean'`` or ``'var'``.
        part: The part.
        ax: Where to draw.
    """
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
    ax.set(xlabel='step', xlim=(0, run.steps[-1]))


def shares_of_layers(run: Records, kind: str, ax: Axes) -> None:
    """Draw the last shares of IN, LN and BN of each layer, as bars.

    Args:
        run: The records of a training.
        kind: ``'mean'`` or ``'var'``.
        ax: Where to draw.
    """
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
