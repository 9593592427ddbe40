# Copyright (c) mmnorm contributors. All rights reserved.
import math
import os

import pytest
import torch

from mmnorm.engine.runner import threads
from mmnorm.engine.runner.threads import (
    granted_cores,
    num_threads,
    set_num_threads,
)


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ({}, math.inf),
        ({'cpu.max': 'max 100000\n'}, math.inf),
        ({'cpu.max': '250000 100000\n'}, 2.5),
        (
            {
                'cpu/cpu.cfs_quota_us': '-1\n',
                'cpu/cpu.cfs_period_us': '100000\n',
            },
            math.inf,
        ),
        (
            {
                'cpu/cpu.cfs_quota_us': '400000\n',
                'cpu/cpu.cfs_period_us': '100000\n',
            },
            4,
        ),
    ],
)
def test_limit_of_a_container(tmp_path, files, expected):
    (tmp_path / 'cpu').mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert granted_cores(tmp_path) == expected


@pytest.mark.parametrize(
    ('cores', 'environment', 'expected'),
    [
        (8, {}, 8),
        (2.5, {}, 2),
        (0.5, {}, 1),
        (8, {'LOCAL_WORLD_SIZE': '4'}, 2),
        (8, {'OMPI_COMM_WORLD_LOCAL_SIZE': '3'}, 2),
        (2, {'LOCAL_WORLD_SIZE': '4'}, 1),
        (64, {'SLURM_CPUS_PER_TASK': '5'}, 5),
        (2, {'SLURM_CPUS_PER_TASK': '5'}, 2),
    ],
)
def test_cores_are_divided_among_processes(cores, environment, expected):
    assert num_threads(cores, environment) == expected


@pytest.fixture
def three_cores(monkeypatch, tmp_path):
    """Show this process three cores, in a container without a limit."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1, 5})
    monkeypatch.setattr(threads, 'CGROUP', tmp_path)
    yield tmp_path
    torch.set_num_threads(1)


def test_torch_gets_the_cores_of_the_process(monkeypatch, three_cores):
    monkeypatch.delenv('OMP_NUM_THREADS')
    set_num_threads()
    assert torch.get_num_threads() == 3
    (three_cores / 'cpu.max').write_text('200000 100000')
    set_num_threads()
    assert torch.get_num_threads() == 2


def test_number_of_the_user_is_kept(three_cores):
    assert os.environ['OMP_NUM_THREADS'] == '1'
    set_num_threads()
    assert torch.get_num_threads() == 1
