# Copyright (c) mmnorm contributors. All rights reserved.
"""The command trains what is missing."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from studies.recalibrate_models import RUNS
from tests.paths import ROOT

TOOL = 'studies.train_mini'


def write_log(work_dir: Path, records: list[dict]) -> None:
    file = work_dir / 'date/vis_data/scalars.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{json.dumps(one)}\n' for one in records))


WHOLE = [{'loss': 2.0, 'step': 1}, {'loss': 1.0, 'step': 2}]
WHOLE += [{'mIoU': 50.0, 'step': 2}]


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict(max_iters=2)\n')
    return path


@pytest.mark.parametrize('length', [0, 1, 2])
def test_run_that_is_not_complete_starts(
    module, config, tmp_path, monkeypatch, length
):
    started = []

    def run(command, **kwargs):
        started.append(command[1:])
        write_log(tmp_path / 'run', WHOLE)
        return CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, 'run', run)
    if length:
        write_log(tmp_path / 'run', WHOLE[:length])
    assert module.train(config, tmp_path / 'run') == WHOLE
    train = ROOT / 'tools/train.py'
    assert started == [[train, config, '--work-dir', tmp_path / 'run']]
    assert module.train(config, tmp_path / 'run') == WHOLE
    assert len(started) == 1


def test_run_that_fails_names_its_log(module, config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module.subprocess, 'run', lambda *_, **__: CompletedProcess([], 1)
    )
    sentence = f'config failed; the reason is at the end of {tmp_path}/run.log'
    with pytest.raises(SystemExit, match=sentence):
        module.train(config, tmp_path / 'run')


def test_what_the_studies_need_is_trained(module, main, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(module, 'train', lambda *args: trained.append(args))
    main('--work-dirs', tmp_path)
    folder = ROOT / 'configs/mini'
    assert len(trained) == len(RUNS)
    for name, run in zip(RUNS, trained, strict=True):
        assert run == (folder / f'{name}.py', tmp_path / name)
        assert run[0].is_file()
