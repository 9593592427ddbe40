# Copyright (c) mmnorm contributors. All rights reserved.
"""Five mini detectors are watched, and the page says what was seen."""

from tests.paths import ROOT

TOOL = 'studies.watch_norms'


def test_configs_exist_and_get_the_hook(module, tmp_path, monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command)
        return type('Done', (), {'returncode': 0})

    monkeypatch.setattr(module.subprocess, 'run', run)
    for norm in module.NORMS:
        module.train(norm, tmp_path)
        text = (tmp_path / norm / 'config.py').read_text()
        base = text.partition("_base_ = '")[2].partition("'")[0]
        assert (ROOT / base).is_file()
        assert 'mmnorm.NormStatsHook' in text
    assert len(commands) == 5
    (tmp_path / 'GN/epoch_3.pth').touch()
    module.train('GN', tmp_path)
    assert len(commands) == 5


def test_findings_of_the_page():
    text = (ROOT / 'studies/results/norm_stats/findings.txt').read_text()
    assert text.strip() in (ROOT / 'docs/diagnose.md').read_text()
