# Copyright (c) mmnorm contributors. All rights reserved.
"""Threads of torch on a CPU: one for each core that a process may use.

More threads than cores wait for each other, and the whole machine waits with
them. The machine may have more cores than a container or a job may use.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch

CGROUP = Path('/sys/fs/cgroup')
# Version 2 of control groups has both numbers in one file, version 1 in two.
LIMITS = (('cpu.max',), ('cpu/cpu.cfs_quota_us', 'cpu/cpu.cfs_period_us'))
UNLIMITED = ('max', '-1')


def granted_cores(cgroup: Path) -> float:
    """Return the cores that a container may use; infinity without a limit."""
    for names in LIMITS:
        files = [cgroup / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = ' '.join(f.read_text() for f in files).split()
            if quota not in UNLIMITED:
                return int(quota) / int(period)
    return math.inf


def num_threads(cores: float, environment: Mapping[str, str]) -> int:
    """Return the threads of one process on a machine.

    Args:
        cores: Cores that all processes of a training may use here.
        environment: Variables that the launcher of the process has set.
    """
    if 'SLURM_CPUS_PER_TASK' in environment:
        # slurm has divided the cores among the processes.
        return max(1, int(min(cores, int(environment['SLURM_CPUS_PER_TASK']))))
    for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'):
        cores /= int(environment.get(name, 1))
    return max(1, int(cores))


def set_num_threads() -> None:
    """Give torch one thread per core of this process.

    Where ``OMP_NUM_THREADS`` is set, by a user or by torchrun, torch has
    followed it already.
    """
    if 'OMP_NUM_THREADS' not in os.environ:
        cores = min(len(os.sched_getaffinity(0)), granted_cores(CGROUP))
        torch.set_num_threads(num_threads(cores, os.environ))
