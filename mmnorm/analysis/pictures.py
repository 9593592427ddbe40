# Copyright (c) mmnorm contributors. All rights reserved.
"""Pictures of one training, or of several on the same axes."""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plots import (
    NUMBERS,
    STATISTICS,
    heat_map,
    lines,
    shares_of_layers,
    shares_over_training,
)
from .records import Records, part_of_layer, stage_of_layer

WIDTH, DPI = 3.8, 180  # inches per panel: as wide as a phone


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
            partial(heat_map, run, key, rows, top, end),
        )
        for run in runs
    ] + [
        Panel(
            f'{run.name}: {number.title} of each stage over training',
            partial(lines, run, key, stages, highest, end),
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
            partial(shares_over_training, run, kind, part),
        )
        for part in run.grouped('mean_in', part_of_layer)
        for kind, word in STATISTICS.items()
    ] + [
        Panel(
            f'{run.name}: shares of the {word} of each layer at the end',
            partial(shares_of_layers, run, kind),
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
