# Copyright (c) mmnorm contributors. All rights reserved.
"""Count how often the levels of a pyramid share a norm."""

import torch
from torch import nn

from .norm_states import norms_of


@torch.no_grad()
def level_calls(model: nn.Module) -> dict[str, int]:
    """Count the calls of each norm of a dense head, in one forward.

    Args:
        model: A detector with one stage; for other models there are no calls
            to count.
    """
    head = getattr(model, 'bbox_head', None)
    if head is None or not hasattr(model, 'extract_feat'):
        return {}
    calls: dict[str, int] = {}
    names = {norm: f'bbox_head.{name}' for name, norm in norms_of(head)}

    def count(module: nn.Module, _: tuple) -> None:
        calls[names[module]] = calls.get(names[module], 0) + 1

    handles = [norm.register_forward_pre_hook(count) for norm in names]
    model.eval()
    try:
        head(model.extract_feat(torch.zeros(1, 3, 128, 128)))
    finally:
        for handle in handles:
            handle.remove()
    return calls
