# Copyright (c) mmnorm contributors. All rights reserved.
"""Plots show the numbers of the records, on the same axes for every run."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmnorm.analysis.pictures import Panel, Picture, pictures, png_of, save_png
from mmnorm.analysis.records import Records, read_records

from .trainings import SN, STEPS, record, write_run, write_training

SHARES = dict(zip(SN, (0.5, 0.25, 0.25, 1.0, 0.0, 0.0), strict=True))


@pytest.fixture
def runs(tmp_path) -> list[Records]:
    work_dirs = [
        write_training(tmp_path / 'gn', 'gn'),
        write_training(tmp_path / 'sn', gap_mean=0.5, **SHARES),
    ]
    return [read_records(each) for each in work_dirs]


def draw(panel: Panel) -> Axes:
    ax = Figure().subplots()
    panel.draw(ax)
    return ax


def picture(name: str, runs: list[Records]) -> Picture:
    (found,) = [each for each in pictures(runs) if each.name == name]
    return found


def test_a_picture_per_number(runs):
    found = {each.name: len(each.panels) for each in pictures(runs)}
    assert found == {
        'dead': 4,
        'bn_mean': 4,
        'bn_std': 4,
        'gap_mean': 2,
        'shares_sn': 8,
    }
    assert 'shares_sn' not in [each.name for each in pictures(runs[:1])]


def test_heat_maps(runs):
    runs[1].numbers['dead'][-1, 3] = 0.5
    first, second = map(draw, picture('dead', runs).panels[:2])
    (gn,), (sn,) = first.collections[:1], second.collections[:1]
    shown = sn.get_array()
    assert shown.shape == (6, len(STEPS))
    assert shown[3, -1] == 50
    assert shown[0].tolist() == pytest.approx([s / 10 for s in STEPS])
    assert gn.get_clim() == sn.get_clim()
    for ax in (first, second):
        assert ax.get_xlim() == (0, 104)
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels[0] == 'backbone stem'
        assert len(labels) == 5


def test_lines_of_stages(runs):
    runs[1].numbers['dead'][:, 2] = 0.9
    panels = picture('dead', runs).panels[2:]
    gn, sn = map(draw, panels)
    assert gn.get_ylim() == sn.get_ylim()
    assert sn.get_ylabel() == '% of channels'
    line = sn.get_lines()[2]
    assert line.get_label() == 'backbone.layer4'
    expected = [(90 + step / 10) / 2 for step in STEPS]
    assert line.get_ydata().tolist() == pytest.approx(expected)


def test_shares_are_stacked(runs):
    *_, means, variances = map(draw, picture('shares_sn', runs).panels)
    heights = np.array([bar.get_height() for bar in means.patches])
    assert heights.reshape(3, 6).tolist() == [[50] * 6, [25] * 6, [25] * 6]
    assert {bar.get_y() for bar in means.patches} == {0, 50, 75}
    assert variances.patches[0].get_height() == 100
    first = draw(picture('shares_sn', runs).panels[0])
    tops = [c.get_paths()[0].vertices[:, 1].max() for c in first.collections]
    assert tops == [50, 75, 100]


def test_a_layer_that_only_one_training_has(tmp_path, runs):
    write_run(tmp_path / 'more', [{'norm/neck.new.bn/dead': 0.5, 'step': 4}])
    more = [*runs, read_records(tmp_path / 'more')]
    *_, last = map(draw, picture('dead', more).panels[:3])
    shown = last.collections[0].get_array()
    # A row beside the other layer of its stage; all others have no value.
    assert shown[5, 0] == 50
    assert shown.mask.sum() == 6


@pytest.mark.parametrize('value', [0.0, float('nan'), float('inf'), 1e30])
def test_every_value_can_be_drawn(tmp_path, value):
    write_run(tmp_path / 'a', [record(4, bn_mean=value, dead=0.0)])
    for each in pictures([read_records(tmp_path / 'a')]):
        save_png(each, tmp_path / f'{each.name}.png')
    png = (tmp_path / 'bn_mean.png').read_bytes()
    assert png.startswith(b'\x89PNG')


def test_one_panel(runs):
    panel = pictures(runs)[0].panels[0]
    assert panel.alt == 'gn: Dead channels of each layer over training'
    assert png_of(panel, 3).startswith(b'\x89PNG')
