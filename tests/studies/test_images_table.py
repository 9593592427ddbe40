# Copyright (c) mmnorm contributors. All rights reserved.
"""The short table has the first and the best learning rate of each norm."""

from studies.plan import Cell, Plan

TOOL = 'studies.images_table'
TASK = {'network': 'net', 'data': 'streets', 'metrics': {'mIoU': 'mIoU'}}
RUNS = {
    ('GN', 'default', 1, '0.1'): [60.0, 62.0],
    ('GN', 'default', 1, '0.2'): [59.0, 69.0],
    ('GN', 'default', 2, '0.2'): [40.0, 42.0],
    ('GN', 'default', 2, '0.1'): [50.0, None],
    ('BCN', 'default', 1, '0.1'): [64.0, None],
    ('BCN', 'default', 2, '0.2'): [None, None],
    ('BCN', 'none', 2, '0.2'): [70.0, None],
    ('BN', 'default', 2, '0.2'): [None, None],
    ('BN', 'default', 2, '0.1'): [55.0, None],
}


def test_first_and_best_rates(module):
    cells = {
        Cell('net', 'streets', *run[:3], 1, seed, run[3], 9): values[seed]
        for seed in range(2)
        for run, values in RUNS.items()
    }
    plan = Plan('toy', '', {('net', 'streets'): TASK}, {}, {}, list(cells))
    rows = {
        (cell, 'mIoU'): {'value': value}
        for cell, value in cells.items()
        if value is not None
    }
    assert module.images_table(plan, rows) == (
        '*net on streets, mIoU*\n\n'
        '| norm | rate | 1 image | 2 images |\n'
        '|---|---|---|---|\n'
        '| GN | rule | 61.0 [60.0, 62.0] | 41.0 [40.0, 42.0] |\n'
        '| GN | best | 61.0 [60.0, 62.0] at 0.1 | 50.0 at 0.1 |\n'
        '| BCN | rule | 64.0 | – |\n'
        '| BCN | best | 64.0 at 0.1 | – |\n'
        '| BN | rule | – | – |\n'
        '| BN | best | – | 55.0 at 0.1 |'
    )
