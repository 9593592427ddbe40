# Copyright (c) mmnorm contributors. All rights reserved.
from mmnorm.analysis.untrained.plots import draw
from mmnorm.analysis.untrained.rows import Row, last_of_blocks


def row(layer: int, name: str, norm: str = 'GN', value: float = 1.0) -> Row:
    return Row('net', norm, layer, name, 8, None, 'similarity', value)


def test_a_block_is_its_last_layer():
    names = ('input', '2', '3.act1', '3.act2', 'layer1.0.relu')
    rows = [
        row(layer, name, norm)
        for norm in ('GN', 'LN')
        for layer, name in enumerate([*names, 'layer1.0.relu#2'])
    ]
    kept = [(r.norm, r.name) for r in last_of_blocks(rows)]
    expected = ['input', '2', '3.act2', 'layer1.0.relu#2']
    assert kept == [(norm, name) for norm in ('GN', 'LN') for name in expected]


def test_values_without_a_logarithm_are_left_out(tmp_path):
    values = (0.0, 2.0, float('nan'), float('inf'), 1e200)
    rows = [
        row(layer, str(layer), norm, value)._replace(measure=measure)
        for measure in ('activation variance', 'similarity', 'gradient norm')
        for norm in ('none', 'BN', 'IN')
        for layer, value in enumerate(values)
    ]
    draw(rows, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 10_000
