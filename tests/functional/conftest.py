# Copyright (c) mmnorm contributors. All rights reserved.
"""Let each test choose the backend by the environment variable."""

import pytest

from mmnorm.functional import dispatch


@pytest.fixture(autouse=True)
def variable_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the variable at each call, where a training reads it once."""
    read = dispatch.chosen_backend.__wrapped__
    monkeypatch.setattr(dispatch, 'chosen_backend', read)
