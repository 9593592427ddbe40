# Copyright (c) mmnorm contributors. All rights reserved.
"""The tables of docs/deploy.md say what the raw results say."""

import json

import pytest

TOOL = 'benchmarks.fold_cost'


@pytest.mark.parametrize('kind', ['trained', 'untrained'])
def test_tables(module, kind):
    results = json.loads((module.RESULTS / f'{kind}.json').read_text())
    assert module.table(results) in module.PAGE.read_text()


def test_every_mini_config_is_there_and_stays_what_it_is(module):
    results = json.loads((module.RESULTS / 'trained.json').read_text())
    configs = (module.ROOT / 'configs/mini').glob('*.py')
    assert set(results) == {path.stem for path in configs}
    for result in results.values():
        before, after = result['scores']
        assert before == after
        assert result['difference'] < 1e-4
