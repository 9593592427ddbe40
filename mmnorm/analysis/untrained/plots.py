# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots of the measures of an untrained network over its depth."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')  # a command may run without a display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .rows import Row, last_of_blocks
from .variants import FAMILY, NO_NORM, parse_variant

# The measure, the label of its axis, the scale, and the layers below.
PANELS = (
    ('activation variance', 'activation variance', 'log', 'activation'),
    ('similarity', 'similarity of images (cosine)', 'linear', 'activation'),
    (
        'gradient norm',
        'gradient norm (per image, RMS)',
        'log',
        'convolution',
    ),
)
LINES = ('-', '--', ':')
SHOWN = (1e-6, 1e12)
"""Curves may leave a panel beyond these values."""


def draw(rows: list[Row], path: Path) -> None:
    """Draw the measures of one network, with a row per kind of norm.

    A residual block is one point, its last layer.

    Args:
        rows: The rows of the network.
        path: The image file to write.
    """
    kinds: dict[str, list[str]] = {}
    for norm in dict.fromkeys(row.norm for row in rows):
        kinds.setdefault(_kind(norm), []).append(norm)
    figure, axes = plt.subplots(
        len(kinds),
        len(PANELS),
        figsize=(15, 3.6 * len(kinds)),
        squeeze=False,
        layout='constrained',
    )
    for line, (kind, norms) in zip(axes, kinds.items(), strict=True):
        norms = sorted(norms, key=_order)
        for ax, (measure, label, scale, layers) in zip(
            line, PANELS, strict=True
        ):
            ax.set(xlabel=f'{layers} (number)', ylabel=label, yscale=scale)
            of_measure = [r for r in rows if r.measure == measure]
            _panel(ax, last_of_blocks(of_measure), norms)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.grid(alpha=0.3)
            if measure == 'similarity':
                ax.set_ylim(-0.05, 1.05)
            if scale == 'log':
                ax.set_ylim(*np.clip(ax.get_ylim(), *SHOWN))
        line[0].set_title(kind, loc='left')
        line[-1].legend(
            fontsize='small', loc='center left', bbox_to_anchor=(1.0, 0.5)
        )
    figure.suptitle(f'{rows[0].network}, untrained')
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _panel(ax: Axes, rows: list[Row], norms: list[str]) -> None:
    for index, norm in enumerate(norms):
        # A logarithmic axis has no 0, the gradient of an idle branch.
        points = [
            (r.layer, r.value if r.value != 0 else np.nan)
            for r in rows
            if r.norm == norm
        ]
        if _kind(norm) == 'size of groups':
            color = plt.get_cmap('viridis')(index / len(norms))
        else:
            color = f'C{index % 10}'
        ax.plot(
            *zip(*points, strict=True),
            LINES[index // 10 % len(LINES)],
            color=color,
            label=norm,
            linewidth=1.2,
            marker='.',
            markersize=3,
        )


def _kind(norm: str) -> str:
    variant = parse_variant(norm)
    if variant.norm == NO_NORM:
        return 'without a norm'
    sized = variant.setting.startswith('size') or variant.norm in ('IN', 'LN')
    if variant.norm in FAMILY and sized and '+' not in norm:
        return 'size of groups'
    return 'norms'


def _order(norm: str) -> float:
    # By the size of the groups; other norms keep their order.
    if norm.startswith('GN-size-'):
        return int(parse_variant(norm).setting.partition('-')[2])
    return {'IN': 0.0, 'LN': float('inf')}.get(norm, 0.0)
