# Copyright (c) mmnorm contributors. All rights reserved.
import runpy
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.paths import ROOT


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Ended]:
    """Run a Python command of tools/ in this process, from the root.

    An exception that the command does not answer with a sentence reaches the
    test, as its traceback reaches a user.
    """
    monkeypatch.chdir(ROOT)

    def run(name: str, *args: object) -> Ended:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        capsys.readouterr()  # drops what the test itself has printed
        status = 0
        try:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        except SystemExit as end:
            status = end.code
        return Ended(status or 0, *capsys.readouterr())

    return run


@pytest.fixture
def succeeds(command) -> Callable[..., str]:
    """Run a command that has to succeed, and return its output."""

    def run(name: str, *args: object) -> str:
        ended = command(name, *args)
        assert ended.status == 0, ended.err
        return ended.out

    return run


@pytest.fixture
def fails(command) -> Callable[..., str]:
    """Run a command that has to fail, and return its only sentence."""

    def run(name: str, *args: object) -> str:
        ended = command(name, *args)
        assert ended.status != 0
        start = f'{name}: error: '
        lines = ended.err.strip().splitlines()
        assert [line for line in lines if start in line] == lines[-1:]
        assert lines[-1].startswith(start)
        return lines[-1].removeprefix(start)

    return run
