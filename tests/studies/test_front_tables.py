# Copyright (c) mmnorm contributors. All rights reserved.
"""The tables of the first pages are those of the results files."""

import numpy as np
import pytest

from studies.plan import PLANS, read_plan
from studies.report import RESULTS
from studies.results_file import read_rows

from .test_report import PLAN, ROWS, TASK

TOOL = 'studies.front_tables'
COLUMNS = {('net', 'streets'): ['mIoU']}


def test_front_table(module):
    assert module.front_table(PLAN, ROWS, COLUMNS).splitlines() == [
        '| norm | net on streets: mIoU |',
        '|---|---|',
        '| GN | 62 [60, 64] |',
        '| BN | 50 (one run) |',
        '| BCN, half | 64 [63, 66] |',
    ]


def test_norm_that_another_task_lacks(module):
    other = PLAN.cells[0]._replace(data='towns', norm='SN')
    tasks = {('net', 'towns'): TASK | {'data': 'towns'}}
    plan = PLAN._replace(tasks=PLAN.tasks | tasks, cells=[*PLAN.cells, other])
    rows = ROWS | {(other, 'mIoU'): {'value': 40.0}}
    columns = COLUMNS | {('net', 'towns'): ['mIoU']}
    lines = module.front_table(plan, rows, columns).splitlines()
    assert lines[2] == '| GN | 62 [60, 64] | not trained yet |'
    assert lines[5] == '| SN | not trained yet | 40 (one run) |'


def test_not_trained_yet(module):
    assert module.in_percent(np.array([np.nan, np.nan])) == 'not trained yet'


@pytest.mark.parametrize('study', ['family', 'norms'])
def test_pages_have_the_tables_of_the_results(module, study):
    plan, rows = read_plan(PLANS / f'{study}.yml'), read_rows(RESULTS)
    for path, columns in module.PAGES[study].items():
        page = path.read_text()
        text = page.partition(f'<!-- {study} begin -->')[2]
        text = text.partition(f'<!-- {study} end -->')[0].strip()
        assert text == module.front_table(plan, rows, columns)


def test_written_between_the_marks(module, tmp_path, monkeypatch):
    path = tmp_path / 'page.md'
    path.write_text('a\n<!-- toy begin -->\nb\n<!-- toy end -->\nc\n')
    monkeypatch.setattr(module, 'PAGES', {'toy': {path: COLUMNS}})
    module.write_front_tables(PLAN, ROWS)
    first, *table, last = path.read_text().split('\n\n')
    assert (first, last) == ('a\n<!-- toy begin -->', '<!-- toy end -->\nc\n')
    assert table == [module.front_table(PLAN, ROWS, COLUMNS)]
