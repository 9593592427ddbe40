# Copyright (c) mmnorm contributors. All rights reserved.
"""Shares that become sparse as a radius grows."""

import torch
from torch import Tensor

from .torch_ops import wide


def sparsestmax(logits: Tensor, radius: Tensor) -> Tensor:
    r"""Return shares of at least a given distance from equal shares.

    Paper: `SSN: Learning Sparse Switchable Normalization via SparsestMax
    <https://arxiv.org/abs/1903.03793>`_.

    The logits are projected onto the simplex of shares, as in sparsemax. If
    the projection is nearer to the center of its face than the radius, it
    moves away from the center to that distance. If it leaves the simplex on
    this way, the same happens on the smaller face that it crosses, where the
    sphere around the first center is a smaller sphere around the center of
    that face. A radius of 0 is sparsemax; with a radius of 1 one share is 1.

    Equal logits have no direction. Their shares stay equal, where the
    authors' code divides by 0.

    The function has no control flow that depends on data, so a GPU never
    waits: each step leaves a finished result as it is.

    Args:
        logits: One number per share.
        radius: The distance, a number from 0 to 1.

    Shape:
        - logits: :math:`(K)`.
        - radius: :math:`()`.
        - Output: :math:`(K)`, in float32 at least.

    Example::

        >>> logits = torch.tensor([0.3, 0.2, 0.1])
        >>> [float(r) for r in sparsestmax(logits, torch.tensor(1.0))]
        [1.0, 0.0, 0.0]
    """
    shares = logits.to(wide(logits.dtype))
    square, outer = radius.to(shares.dtype).square(), None
    for _ in range(logits.numel() - 1):
        shares = _sparsemax(shares)
        with torch.no_grad():
            on_face = (shares > 0).to(shares.dtype)
            center = on_face / on_face.sum()
            if outer is not None:
                square = square - (center - outer).square().sum()
                square = square.clamp(min=0)
            outer = center
        offset = shares - center
        distance = offset.square().sum()
        tiny = 8 * torch.finfo(shares.dtype).eps
        is_done = (distance >= square) | (distance < tiny**2)
        # The gradient of a root at 0 is not finite, in either branch.
        distance = torch.where(is_done, torch.ones_like(distance), distance)
        moved = center + offset * (square / distance).sqrt()
        shares = torch.where(is_done, shares, moved)
    return _sparsemax(shares)


def _sparsemax(logits: Tensor) -> Tensor:
    # The nearest point of the simplex: one number is subtracted from all
    # logits, and what is negative becomes 0.
    ordered = logits.sort(descending=True).values
    ranks = torch.arange(1, len(logits) + 1, device=logits.device)
    with torch.no_grad():
        in_support = 1 + ranks * ordered > ordered.cumsum(0)
        size = in_support.sum()
    total = torch.where(in_support, ordered, 0).sum()
    return (logits - (total - 1) / size).clamp(min=0)
