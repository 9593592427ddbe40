# Copyright (c) mmnorm contributors. All rights reserved.
"""The plot of a metric over images per step has the lines it promises."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from studies.plan import Cell
from studies.series import Series

TOOL = 'studies.plot'


def series(norm: str, images: int, lr: str, *values: float):
    cell = Cell('net', 'streets', norm, 'default', images, 1, 0, lr, 9)
    return Series(cell, np.array(values))


@pytest.fixture
def draw(module, monkeypatch, tmp_path):
    """Draw one panel, and return its axes."""
    figures = []
    monkeypatch.setattr(plt, 'close', figures.append)

    def axes_of(runs: list[Series]) -> plt.Axes:
        module.draw(
            {'net on streets': ('mIoU', runs)},
            lambda values: (values.mean(), values.min(), values.max()),
            tmp_path / 'toy.png',
        )
        (ax,) = figures[0].axes
        return ax

    return axes_of


def test_best_learning_rates_are_dashed(draw):
    runs = [
        series('GN', 1, '0.1', 60.0, 62.0),
        series('GN', 2, '0.2', 40.0, 42.0),
        series('GN', 2, '0.1', 50.0),
        series('BN', 1, '0.1', 55.0),
        series('BN', 2, '0.2', 58.0),
        series('BN', 2, '0.4', 57.0),
    ]
    ax = draw(runs)
    drawn = [
        (line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.get_lines()
    ]
    assert drawn == [
        ('-', [1, 2], [61, 41]),
        ('--', [1, 2], [61, 50]),
        ('-', [1, 2], [55, 58]),
    ]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ['GN', 'BN']


def test_rows_of_two_rates_are_told_apart(draw):
    runs = [
        series('GN', 1, '0.1', 60.0, 62.0),
        series('BCN', 1, '0.1', 64.0),
        series('BCN', 1, '0.05', 65.0),
    ]
    ax = draw(runs)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ['GN', 'BCN, lr 0.1', 'BCN, lr 0.05']
