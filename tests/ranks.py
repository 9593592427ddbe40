# Copyright (c) mmnorm contributors. All rights reserved.
"""Processes of one gloo group that run the functions of tests.

A process takes seconds to start, so each group serves the whole session.
"""

import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# The limit ends a hang; a busy machine must not reach the limit.
SECONDS = 300


class Ranks:
    """A group of processes; a failure or a hang in one process ends all."""

    def __init__(self, world_size: int) -> None:
        context = mp.get_context('spawn')
        self.folder = tempfile.TemporaryDirectory()
        url = f'file://{self.folder.name}/store'
        self.pipes, self.processes = [], []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, rank, world_size, url)
            )
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, function: Callable, *args: Any) -> list[Any]:
        """Return the result of ``function(rank, *args)`` of each process."""
        for pipe in self.pipes:
            pipe.send((function, args))
        answers = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(SECONDS):
                self.stop()
                raise TimeoutError(f'rank {rank} hangs in {function.__name__}')
            answers.append(pipe.recv())
        for rank, (_, error) in enumerate(answers):
            if error is not None:
                self.stop()
                raise AssertionError(f'rank {rank}: {error}')
        return [result for result, _ in answers]

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


def _serve(pipe, rank: int, world_size: int, url: str) -> None:
    dist.init_process_group(
        'gloo', init_method=url, rank=rank, world_size=world_size
    )
    while True:
        function, args = pipe.recv()
        try:
            torch.manual_seed(rank)
            pipe.send((function(rank, *args), None))
        except Exception:
            pipe.send((None, traceback.format_exc()))
