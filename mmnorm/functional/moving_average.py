# Copyright (c) mmnorm contributors. All rights reserved.
r"""Moving averages over the last batches, forward and backward.

Paper: https://arxiv.org/abs/2001.06838. A batch normalization without a mean,
:math:`z = x / \sqrt{\chi^2 + \epsilon}` with :math:`\chi^2 =
\overline{x^2}`, has one statistic of the batch in the forward, and
:math:`\overline{g z}` in the backward, where g is the gradient of z. Moving
averages replace both.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Moving(NamedTuple):
    """The statistics that a forward takes from the last batches."""

    var: Tensor  # the mean square to normalize with, per channel
    r: Tensor  # the factor that leads it to the running one, per channel
    slot: Tensor  # the row of this batch in the buffers, as a mask
    ready: Tensor  # whether averages replace the statistics of the batch


@torch.compiler.disable  # the backward writes into a buffer
def moving_rstd(
    square: Tensor, moving: Moving, buffer_gz: Tensor, count: int, eps: float
) -> Tensor:
    r"""Return one over the root of a moving mean square.

    The gradient of the batch's mean square is the one that gives

    .. math::
        \frac{\partial L}{\partial x} =
        \frac{g - z\, \overline{\overline{g z}}}{\sqrt{\chi^2 + \epsilon}}

    with the mean of the last batches. The backward writes the mean of this
    batch into the buffer first.

    Args:
        square: Mean square of the batch per channel, with gradient.
        moving: The statistics of the last batches.
        buffer_gz: Means of g z of the last batches, one row per batch.
        count: Number of values per channel in the batch.
        eps: Added to the mean square, inside the root.
    """
    return _MovingRstd.apply(square, moving, buffer_gz, max(count, 1), eps)


class _MovingRstd(Function):
    @staticmethod
    def forward(ctx, square, moving, buffer_gz, count, eps) -> Tensor:
        rstd = (moving.var + eps).rsqrt()
        ctx.save_for_backward(rstd, moving.slot, moving.ready)
        ctx.buffer_gz, ctx.count = buffer_gz, count
        return rstd

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rstd, slot, ready = ctx.saved_tensors
        # The gradient of 1 / root is the sum of g x.
        gz = grad * rstd / ctx.count
        put(ctx.buffer_gz, slot & gz.isfinite().all(), gz)
        gz = torch.where(ready, ctx.buffer_gz.to(gz).mean(0), gz)
        # The gradient of x is 2 x / count times that of the mean square.
        return -0.5 * ctx.count * gz * rstd.square(), None, None, None, None


def put(buffer: Tensor, slot: Tensor, row: Tensor) -> None:
    """Write a row into a buffer in place, without waiting for the device.

    Args:
        buffer: Numbers per batch and channel.
        slot: Mask of the row, :math:`(B, 1)`.
        row: Numbers per channel.
    """
    buffer.copy_(torch.where(slot, row.to(buffer), buffer))
