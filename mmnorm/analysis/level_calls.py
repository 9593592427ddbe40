# Copyright (c) mmnorm contributors. All rights reserved.
"""Count how often the levels of a pyramid share a norm."""

import inspect

import torch
from torch import nn

from .norm_states import norms_of


@torch.no_grad()
def level_calls(model: nn.Module) -> dict[str, int]:
    """Count the levels that each norm of a dense head sees, in one forward.

    Levels differ in size. A norm may see one level twice: in RTMDet for
    instances, the convolutions of classes and of boxes are the same.

    Args:
        model: A detector with one stage; for other models there are no calls
            to count.
    """
    head = getattr(model, 'bbox_head', None)
    if head is None or not hasattr(model, 'extract_feat'):
        return {}
    names = {norm: f'bbox_head.{name}' for name, norm in norms_of(head)}
    takes = inspect.signature(head.forward).parameters.values()
    # Heads of transformers, and of language, take more than the pyramid.
    if not names or sum(p.default is p.empty for p in takes) != 1:
        return {}
    sizes: dict[str, set[torch.Size]] = {}

    def note_size(module: nn.Module, args: tuple) -> None:
        sizes.setdefault(names[module], set()).add(args[0].shape[2:])

    handles = [norm.register_forward_pre_hook(note_size) for norm in names]
    model.eval()
    try:
        # The top of a pyramid with stride 128 has 3 x 3 pixels, which
        # deformable convolutions of mmcv ask for.
        head(model.extract_feat(torch.zeros(1, 3, 384, 384)))
    except (NotImplementedError, RuntimeError):
        return {}  # some operators of mmcv need a GPU
    finally:
        for handle in handles:
            handle.remove()
    return {name: len(found) for name, found in sizes.items()}
