# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch statistics over all processes; all of torch.distributed is here.

N processes equal one process that sees all their images: every plane counts
with its number of pixels, so the processes may hold different numbers of
images of different sizes, or none.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def pooled_moments(
    mean: Tensor, var: Tensor, num_pixels: int, sync: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance a channel over all planes of all processes.

    One all-reduce forward, and one backward if gradients flow; none with
    ``sync=False``, without a process group, or with a single process.

    Args:
        mean: Plane means.
        var: Biased plane variances.
        num_pixels: Pixels of each plane of this process.
        sync: Whether to pool over processes.

    Shape:
        - mean, var: :math:`(N, C)`; N may be 0.
        - Output: :math:`(C)`, :math:`(C)` and the number of values a
          channel, a float64 scalar; the moments are 0 where that is 0.
    """
    num_images, num_channels = mean.shape
    if not (sync and _num_processes() > 1):
        pooled_mean = mean.sum(0) / max(num_images, 1)
        squares = var + (mean - pooled_mean).square()
        count = torch.full(
            (),
            num_images * num_pixels,
            dtype=torch.float64,
            device=mean.device,
        )
        return pooled_mean, squares.sum(0) / max(num_images, 1), count

    # Raw second moments cancel where the mean is large: in float64 they can
    # afford to, and they let one reduction do for both statistics.
    wide_mean, wide_var = mean.double(), var.double()
    sums = num_pixels * torch.stack(
        (wide_mean.sum(0), (wide_var + wide_mean.square()).sum(0))
    )
    count = sums.new_full((1,), num_images * num_pixels)
    payload = _AllReduce.apply(torch.cat((sums.flatten(), count)))
    count = payload[-1].detach()
    moments = payload[:-1].view(2, num_channels) / count.clamp(min=1)
    pooled_mean = moments[0]
    pooled_var = (moments[1] - pooled_mean.square()).clamp(min=0)
    return pooled_mean.to(mean.dtype), pooled_var.to(var.dtype), count


def _num_processes() -> int:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


class _AllReduce(Function):
    """Sum over processes, whose gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad
