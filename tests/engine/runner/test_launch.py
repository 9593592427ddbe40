# Copyright (c) mmnorm contributors. All rights reserved.
"""What each launcher leaves in the environment, and who speaks."""

import argparse
import sys

import pytest

from mmnorm.engine.runner.launch import (
    ENVIRONMENT,
    _name_master,
    add_common_arguments,
    fail,
    find_config,
    parse,
)

LAUNCHERS = list(ENVIRONMENT)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of what launchers set, and all as before after the test."""
    for names in ENVIRONMENT.values():
        for name in names:
            monkeypatch.setenv(name, '')
            monkeypatch.delenv(name)
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    monkeypatch.setenv('MASTER_PORT', '29500')


def start(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    parse(parser)


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize('rank', ['0', '1'])
def test_process_0_speaks(monkeypatch, capsys, launcher, rank):
    for name, value in zip(
        ENVIRONMENT[launcher], (rank, '0', '2'), strict=True
    ):
        monkeypatch.setenv(name, value)
    start(monkeypatch, f'--launcher={launcher}')
    with pytest.raises(SystemExit) as exit_info:
        fail('so it is')
    assert exit_info.value.code == 1
    said = 'train.py: error: so it is\n' if rank == '0' else ''
    assert capsys.readouterr().err == said


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_launcher_that_did_not_start_it(monkeypatch, capsys, launcher):
    with pytest.raises(SystemExit):
        start(monkeypatch, f'--launcher={launcher}')
    said = capsys.readouterr().err
    assert f'--launcher {launcher} finds no {ENVIRONMENT[launcher][0]}' in said


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_no_master(monkeypatch, capsys, tmp_path, launcher):
    monkeypatch.setenv('PATH', str(tmp_path))  # no scontrol
    with pytest.raises(SystemExit):
        _name_master(launcher, 29500)
    assert 'finds no MASTER_ADDR' in capsys.readouterr().err


def test_configs_by_name(capsys):
    assert find_config('mmdet::_base_/default_runtime.py').is_file()
    for name in ('none.py', 'mmdet::none.py', 'no_package::none.py'):
        with pytest.raises(SystemExit):
            find_config(name)
        assert f'config {name!r}' in capsys.readouterr().err
