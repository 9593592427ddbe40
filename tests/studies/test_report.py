# Copyright (c) mmnorm contributors. All rights reserved.
"""The tables of the evidence are those of the results files."""

import re

import numpy as np
import pytest

from studies.plan import PLANS, Cell, Plan, read_plan
from studies.results_file import read_rows

TOOL = 'studies.report'
TASK = {'network': 'net', 'data': 'streets', 'metrics': {'mIoU': 'mIoU'}}


def cell(norm: str, seed: int, setting: str = 'default') -> Cell:
    return Cell('net', 'streets', norm, setting, 1, 1, seed, '1', 9)


RUNS = {
    ('GN', 'default'): (60.0, 62.0, 64.0),
    ('BN', 'default'): (50.0, None, None),
    ('BCN', 'half'): (63.0, 66.0, None),
}
CELLS = [cell(n, seed, s) for seed in range(3) for n, s in RUNS]
PLAN = Plan('toy', 'Why?', {('net', 'streets'): TASK}, {}, {}, CELLS)
ROWS = {
    (cell(norm, seed, setting), 'mIoU'): {'value': value}
    for (norm, setting), values in RUNS.items()
    for seed, value in enumerate(values)
    if value is not None
}


def test_interval(module):
    values = np.array([1.0, 2.0, 4.0, 5.0, 8.0])
    mean, low, high = module.interval(values)
    assert mean == 4
    means = np.random.default_rng(1).choice(values, (20000, 5)).mean(1)
    expected = np.quantile(means, (0.025, 0.975))
    assert (low, high) == pytest.approx(expected, abs=0.15)
    assert module.interval(np.array([2.0, np.nan, 2.0])) == (2, 2, 2)
    mean, *ends = module.interval(np.array([3.0, np.nan]))
    assert mean == 3
    assert np.isnan(ends).all()
    assert np.isnan(module.interval(np.array([np.nan]))).all()


def test_table(module):
    series = module.series_of(PLAN, ROWS, TASK, 'mIoU')
    lines = module.table(series, 'mIoU').splitlines()
    assert lines[0] == (
        '| norm | setting | images | lr | mIoU | over GN | over BN | runs |'
    )
    gn, bn, bcn = (line.split(' | ') for line in lines[2:])
    assert gn[4].startswith('62.0 [60.0, 64.0')
    assert gn[5:] == ['', '+10.0', '60.0 62.0 64.0 |']
    assert bn[4:] == ['50.0', '-10.0', '', '50.0 – – |']
    # The seeds of both: 63 - 60 and 66 - 62.
    assert bcn[1] == 'half'
    assert bcn[4:] == [
        '64.5 [63.0, 66.0]',
        '+3.5 [+3.0, +4.0]',
        '+13.0',
        '63.0 66.0 – |',
    ]


def test_peer_with_the_same_setting_comes_first(module):
    def series(norm: str, setting: str, value: float):
        return module.Series(cell(norm, 0, setting), np.array([value]))

    bcn = series('BCN', 'pretrained', 9.0)
    plain, gn = series('GN', 'default', 5.0), series('GN', 'pretrained', 7.0)
    bn = series('BN', 'default', 4.0)
    found = module.peers_of(bcn, [plain, gn, bn, bcn])
    assert found == {'GN': gn, 'BN': bn}


def test_report(module, tmp_path):
    text = module.report(PLAN, ROWS)
    assert text.startswith('6 of 9 trainings are done.')
    assert '*net on streets, mIoU*' in text
    panels = module.panels(PLAN, ROWS)
    module.draw(panels, module.interval, tmp_path / 'toy.png')
    assert (tmp_path / 'toy.png').stat().st_size > 5000


def test_shares_have_three_digits(module):
    values = np.array([0.5, 0.25])
    assert module.with_interval(values, 'box AP') == '0.375 [0.250, 0.500]'


def test_page_has_the_tables_of_the_results(module):
    page = module.PAGE.read_text()
    for path in sorted(PLANS.glob('*.yml')):
        plan = read_plan(path)
        rows = read_rows(module.RESULTS)
        text = module.report(plan, rows)
        own = (module.RESULTS / f'{plan.study}.md').read_text()
        assert own == module.whole_page(plan, text)
        if f'<!-- {plan.study} begin -->' in page:
            assert text in page


def test_numbers_of_the_text_are_in_the_tables(module):
    page = module.PAGE.read_text()
    tables = re.compile('<!-- [^>]* begin -->.*?<!-- [^>]* end -->', re.DOTALL)
    known = {
        number.lstrip('+-')
        for table in tables.findall(page)
        for number in re.findall(r'[+-]?\d+\.\d+', table)
    }
    prose = re.sub(r'`[^`]*`|\([^)]*\.(?:md|py|yml|csv|png)\)', '', page)
    prose = re.sub(r'https?://\S+', '', tables.sub('', prose))
    missing = set(re.findall(r'\d+\.\d+', prose)) - known
    assert not missing
