# Copyright (c) mmnorm contributors. All rights reserved.
"""The environment of each launcher, and the process that reports errors."""

import argparse
import sys
from collections.abc import Callable

import pytest
from mmengine.config import Config

from mmnorm.engine.runner.launch import (
    ENVIRONMENT,
    _set_master,
    add_common_arguments,
    fail,
    parse,
    read_config,
)

LAUNCHERS = list(ENVIRONMENT)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of launchers, and restore them after the test."""
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
@pytest.mark.parametrize('local_rank', ['0', '1'])
def test_one_process_per_node_reports(
    monkeypatch, capsys, launcher, local_rank
):
    # Data may be missing on the second node alone.
    for name, value in zip(
        ENVIRONMENT[launcher], ('5', local_rank, '8'), strict=True
    ):
        monkeypatch.setenv(name, value)
    start(monkeypatch, f'--launcher={launcher}')
    with pytest.raises(SystemExit) as exit_info:
        fail('a sentence')
    assert exit_info.value.code == 1
    expected = 'train.py: error: a sentence\n' if local_rank == '0' else ''
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_wrong_launcher(monkeypatch, capsys, launcher):
    with pytest.raises(SystemExit):
        start(monkeypatch, f'--launcher={launcher}')
    output = capsys.readouterr().err
    name = ENVIRONMENT[launcher][0]
    assert f'--launcher {launcher} finds no {name} in the' in output


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_address_of_process_0_is_missing(
    monkeypatch, capsys, tmp_path, launcher
):
    monkeypatch.setenv('PATH', str(tmp_path))  # without scontrol
    with pytest.raises(SystemExit):
        _set_master(launcher, 29500)
    assert 'finds no MASTER_ADDR' in capsys.readouterr().err


@pytest.fixture
def config(tmp_path) -> Callable[..., Config]:
    """Read a config with the arguments of a command."""
    (tmp_path / 'net.py').write_text('model = dict(depth=50)\nwork_dir = None')

    def read(*arguments: str, path: str = str(tmp_path / 'net.py')) -> Config:
        parser = argparse.ArgumentParser()
        parser.add_argument('config')
        add_common_arguments(parser)
        return read_config(parser.parse_args([path, *arguments]))

    return read


def test_settings_of_the_command(config):
    cfg = config()
    assert cfg.work_dir == 'work_dirs/net'
    assert cfg.launcher == 'none'
    assert 'channels_last' not in cfg
    cfg = config(
        *('--cfg-options', 'model.depth=18'),
        *('--work-dir=here', '--launcher=mpi', '--channels-last'),
    )
    assert cfg.model.depth == 18
    assert cfg.work_dir == 'here'
    assert cfg.launcher == 'mpi'
    assert cfg.channels_last


def test_config_that_is_not_there(config, capsys):
    with pytest.raises(SystemExit):
        config(path='none.py')
    assert "error: config 'none.py' does not exist" in capsys.readouterr().err
