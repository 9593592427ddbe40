# Copyright (c) mmnorm contributors. All rights reserved.
"""Every process of the suite computes with one thread."""

import subprocess
import sys

import torch

SHOW = 'import torch; print(torch.get_num_threads())'


def num_threads(rank: int) -> int:
    return torch.get_num_threads()


def test_this_process():
    assert torch.get_num_threads() == 1


def test_processes_of_a_group(ranks):
    assert ranks(2).run(num_threads) == [1, 1]


def test_started_process():
    done = subprocess.run([sys.executable, '-c', SHOW], stdout=subprocess.PIPE)
    assert done.stdout.strip() == b'1'
