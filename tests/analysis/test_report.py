# Copyright (c) mmnorm contributors. All rights reserved.
import re

from mmnorm.analysis.pictures import pictures
from mmnorm.analysis.records import read_records
from mmnorm.analysis.report import html_report

from .trainings import record, write_run


def test_plots_of_many_trainings_stay_large(tmp_path):
    for name in 'abcd':
        write_run(tmp_path / name, [record(4, dead=0.5), record(24, dead=0.5)])
    runs = [read_records(tmp_path / name) for name in 'abcd']
    text = html_report(runs, ['A < B.'], pictures(runs), ['no config'] * 4)
    # A grid of heat maps and a grid of lines, four trainings in each.
    grids = text.split('<div class="panels"')[1:]
    assert [len(re.findall('<img ', grid)) for grid in grids] == [4, 4]
    assert all(grid.startswith(' style="--columns: 3"') for grid in grids)
    assert 'A &lt; B.' in text
    assert text.count('<p class="mistake">no config</p>') == 4
    (row,) = re.findall('<tr>.*neck.*</tr>', text)
    assert re.findall('>([^<]+)</td>', row) == ['neck', *(['50'] * 4)]
