# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots of the results of benchmarks/norms.py."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .tables import REFERENCE, STEP, names_of, select, slope


def style(name: str) -> dict:
    """Return the style of a layer: a color per norm, full lines for mmnorm.

    Layers of other packages have broken lines, compiled layers are paler.
    """
    ours = name.startswith('mmnorm')
    plain = name.removesuffix(', compiled').removesuffix(', fused ReLU')
    families = (
        ('SyncBN', 'C0'),
        ('SyncBatchNorm', 'C9'),
        ('BatchNorm2d', 'black'),
        ('BCN, batch', 'C1'),
        ('BCN', 'C3'),
        ('SN', 'C2'),
        ('Liger', 'C5'),
        ('apex', 'C6'),
        ('GN', 'C4'),
        ('GroupNorm', 'C7'),
    )
    return {
        'color': next(color for key, color in families if key in plain),
        'linestyle': '-' if ours else '--',
        'marker': 'o' if ours else 'x',
        'alpha': 1.0 if plain == name else 0.5,
        'label': name,
    }


def legend_below(figure: plt.Figure, axes: Axes) -> None:
    """Put the legend of one plot below all plots."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='outside lower center', ncols=4, fontsize=8
    )


def draw_shares(rows: list[dict], path: Path) -> None:
    """Draw the share of a copy's bandwidth by shape and direction."""
    rows = select(rows, images=REFERENCE['images'])
    sizes = {row['name']: math.prod(row['shape']) for row in rows}
    shapes = sorted(sizes, key=sizes.__getitem__)
    figure, grid = plt.subplots(
        2, 2, figsize=(12, 8.5), sharex=True, sharey=True, layout='constrained'
    )
    passes = {'forward': 3, 'backward': 5}
    for line, label in zip(grid, ('NCHW', 'NHWC'), strict=True):
        of_label = select(rows, format=label)
        for axes, what in zip(line, passes, strict=True):
            for name in names_of(of_label)[1:]:
                points = sorted(
                    (shapes.index(row['name']), row[f'{what} share'])
                    for row in select(of_label, layer=name)
                )
                axes.plot(*zip(*points, strict=True), **style(name))
            axes.axhline(1, color='gray', linewidth=0.8)
            axes.set_title(f'{label}, {what}: 1 is {passes[what]} passes')
            axes.set_xticks(
                range(len(shapes)),
                [f'{name}\n{sizes[name] / 1e6:.1f} M' for name in shapes],
                rotation=60,
                fontsize=8,
            )
            axes.grid(alpha=0.3)
        line[0].set_ylabel("share of a copy's bandwidth")
    grid[0, 0].set_ylim(bottom=0)
    legend_below(figure, grid[0, 0])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_peers(rows: list[dict], path: Path) -> None:
    """Draw bars of forward and backward at the reference shape."""
    rows = select(rows, **REFERENCE)
    cases = list(dict.fromkeys((row['dtype'], row['format']) for row in rows))
    counts = [len(select(rows, dtype=d, format=f)) for d, f in cases]
    columns = min(len(cases), 2)
    figure, grid = plt.subplots(
        len(cases) // columns,
        columns,
        figsize=(13, 0.24 * sum(counts[::columns]) + 1.6),
        height_ratios=counts[::columns],
        squeeze=False,
        layout='constrained',
    )
    for axes, (dtype, label) in zip(grid.flat, cases, strict=True):
        copied, *bars = select(rows, dtype=dtype, format=label)
        names = names_of(bars)
        forward, backward, step = (
            np.array([row[f'{what} ms'] for row in bars]).T
            for what in ('forward', 'backward', 'step')
        )
        colors = [style(name)['color'] for name in names]
        axes.barh(names, forward[1], color=colors, alpha=0.55)
        # The medians of both do not add up to the median of the step. The
        # bars end at the latter.
        rest = step[1] - forward[1]
        axes.barh(names, rest, left=forward[1], color=colors)
        errors = [step[1] - step[0], step[2] - step[1]]
        axes.errorbar(
            step[1], names, xerr=errors, fmt='none', ecolor='black', capsize=2
        )
        for name, value, end in zip(names, step[1], step[2], strict=True):
            axes.annotate(
                f'{value:.3g}',
                (end, name),
                (4, 0),
                textcoords='offset points',
                va='center',
                fontsize=8,
            )
        axes.axvline(4 * copied['copy ms'], color='gray', linestyle=':')
        axes.margins(x=0.1, y=0.01)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        shape = ' x '.join(map(str, copied['shape']))
        behind = '' if dtype == 'float32' else ' and ReLU'
        axes.set_title(f'{dtype}{behind}, {label}, {shape}', fontsize=10)
        axes.set_xlabel(
            'ms: forward (pale) and backward; dotted: 8 passes at the speed '
            'of a copy',
            fontsize=8,
        )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_elements(rows: list[dict], path: Path) -> None:
    """Draw the time over the number of elements, with the fitted slopes."""
    rows = select(rows, format='NCHW')
    figure, axes = plt.subplots(figsize=(10, 7.5), layout='constrained')
    for name in names_of(rows):
        of_name = select(rows, layer=name)
        points = sorted(
            (math.prod(row['shape']), row['step ms'][1]) for row in of_name
        )
        look = {'color': 'gray', 'linestyle': ':', 'label': name}
        if name != 'copy':
            look = style(name)
        for fits in (lambda size: size < STEP, lambda size: size > STEP):
            fitted = slope(of_name, fits)
            if fitted is not None:
                look['label'] += f', {fitted:.2f}'
        axes.loglog(*zip(*points, strict=True), **look, markersize=4)
    axes.axvline(STEP, color='gray', linewidth=0.8)
    axes.set(
        xlabel='elements; line: 8 Mi',
        ylabel='ms, forward and backward',
        title='float32, NCHW; slopes of the fits below and above 8 Mi',
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
