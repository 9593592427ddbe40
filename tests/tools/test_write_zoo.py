# Copyright (c) mmnorm contributors. All rights reserved.
"""The metafiles and tables say what the configs say."""

from pathlib import Path

import yaml

from tests.paths import ROOT


def test_metafiles_and_tables_are_fresh(tool):
    result = tool('write_zoo.py', '--check')
    assert result.returncode == 0, result.stderr


def test_every_config_is_listed_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = []
    for name in index['Import']:
        folder = (ROOT / name).parent
        models = yaml.safe_load((ROOT / name).read_text())['Models']
        readme = (folder / 'README.md').read_text()
        for model in models:
            path = Path(model['Config'])
            assert path.stem == model['Name']
            assert readme.count(f'[{path.stem}]({path.name})') == 1
            # Nobody has trained them, so they may claim nothing.
            assert all('Metrics' not in r for r in model['Results'])
            assert 'Weights' not in model
            listed.append(path)
        assert readme.count('| not trained yet |') == len(models)
    existing = (ROOT / 'configs').glob('[!_]*/*.py')
    existing = {p.relative_to(ROOT) for p in existing}
    mini = {p for p in existing if p.parts[1] == 'mini'}
    assert sorted(listed) == sorted(existing - mini)


def test_a_result_of_others_belongs_to_a_config():
    text = (ROOT / 'configs/published.yml').read_text()
    for name, entry in yaml.safe_load(text).items():
        (config,) = (ROOT / 'configs').glob(f'*/{name}.py')
        row = f'[{name}]({name}.py)'
        readme = (config.parent / 'README.md').read_text()
        (line,) = (line for line in readme.split('\n') if row in line)
        assert f'| {entry["result"]}, {entry["source"]} |' in line
