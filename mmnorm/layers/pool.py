# Copyright (c) mmnorm contributors. All rights reserved.
"""The sums of all processes, also where a forward is run again."""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..sync import all_reduce


class Call(NamedTuple):
    """One forward of a layer: what it had, and what it got for it."""

    sums: Tensor
    total: Tensor
    running_mean: Tensor
    running_var: Tensor


class Pool:
    """Reduces the sums of one layer over the processes, once a forward.

    Activation checkpointing runs a forward again in the backward pass. The
    statistics have moved by then, and the other processes may be elsewhere,
    so the second run has to get what the first one got, without asking. It
    is recognised by its sums, for a layer may be called several times.

    Args:
        sync: Whether to reduce at all.
        group_size: Processes that share statistics; None for all.
    """

    def __init__(self, sync: bool, group_size: int | None) -> None:
        self.sync = sync
        self.group_size = group_size
        # Bounded, for the second run may never come.
        self.calls: deque[Call] = deque(maxlen=256)
        self.recalled = False

    @torch.no_grad()
    def recall(self, sums: Tensor) -> Call | None:
        """The first run of the forward that is run again, if one is."""
        if not is_rerun():
            if self.recalled:  # a new step
                self.calls.clear()
                self.recalled = False
            return None
        self.recalled = True
        if len(self.calls) < 2:
            return self.calls[0] if self.calls else None
        # Chosen on the device: looking at the numbers would wait for it.
        each = torch.stack([call.sums for call in self.calls])
        nearest = (each - sums).square().sum(1).argmin(0, keepdim=True)
        fields = zip(*self.calls, strict=True)
        return Call(
            *(torch.stack(f).index_select(0, nearest)[0] for f in fields)
        )

    def remember(self, sums: Tensor, total: Tensor, stats: nn.Module) -> None:
        """Keep what this forward had and moved, if it may be run again."""
        if may_run_again():
            running = stats.running_mean.clone(), stats.running_var.clone()
            self.calls.append(Call(sums.detach(), total.detach(), *running))

    def reduce(self, sums: Tensor, total: Tensor | None = None) -> Tensor:
        if not self.sync:
            return sums
        return all_reduce(sums, self.group_size, total)


def is_rerun() -> bool:
    """Whether a backward pass is under way, and has called a forward."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._current_graph_task_id() != -1


def may_run_again() -> bool:
    """Whether this forward may be under activation checkpointing.

    One style of it runs the forward without gradient first, the other puts
    hooks on what is saved for backward.
    """
    if torch.compiler.is_compiling():
        return False
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None or not torch.is_grad_enabled()
