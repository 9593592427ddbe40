# Copyright (c) mmnorm contributors. All rights reserved.
from collections.abc import Callable
from pathlib import Path

import pytest


def assert_stays(
    dataset: Path,
    make: Callable[[], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Check that making a data set again says so and writes no file."""
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}
    make()
    after = {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}
    assert before == after
    line = f'{dataset} already holds this data set; nothing to do.\n'
    assert capsys.readouterr().out == line
