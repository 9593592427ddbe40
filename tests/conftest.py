# Copyright (c) mmnorm contributors. All rights reserved.
from collections.abc import Callable, Iterator

import pytest
import torch
from mmengine.registry import DefaultScope

from .ranks import Ranks


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_default_scope() -> Iterator[None]:
    """Forget the scope that a runner of the test has made the default."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def ranks() -> Iterator[Callable[[int], Ranks]]:
    """Groups of processes by their number; started once, and after a fall."""
    groups: dict[int, Ranks] = {}

    def get(world_size: int) -> Ranks:
        if world_size not in groups or not groups[world_size].alive:
            groups[world_size] = Ranks(world_size)
        return groups[world_size]

    yield get
    for group in groups.values():
        group.stop()
