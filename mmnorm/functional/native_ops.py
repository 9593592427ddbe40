# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, written with the kernels of torch's norms on CPU.

These kernels read memory once. They see a plane as a channel: a contiguous
tensor is one image of N * C channels, and a channels-last tensor is N images
of C channels. With parameters in float32, they compute half precision in
float32. The arguments are those of :mod:`mmnorm.functional.torch_ops`.
"""

import math
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

# Number of values of an activation that several operators read in turn on CPU.
# A cache holds this many, and the system does not have to map fresh memory for
# a tensor of this size.
PART = 2**19
# Number of pixels that torch's channels-last kernel may add up in float32.
PIXELS = 2**14


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each plane."""
    return (
        _contiguous_moments(x)
        if x.is_contiguous()
        else _channels_last_moments(x)
    )


def _contiguous_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    planes = x.shape[:2]
    if x.dtype != _wide(x):
        mean, var = _batch_moments(x.view(1, planes.numel(), -1))
        return mean.view(planes), var.view(planes)
    # A group norm with one channel per group is accurate and, in float32,
    # the fastest. With an eps of 0 its statistics are exact, and 1 / inf is
    # 0.
    means, rstds = [], []
    for (part,) in _parts([x], [], PART):
        _, c, num_pixels = part.shape
        one = part.new_ones(c)
        _, mean, rstd = torch.native_group_norm(
            part, one, one, 1, c, num_pixels, c, 0.0
        )
        means.append(mean)
        rstds.append(rstd)
    mean, rstd = _joined(means, 1), _joined(rstds, 1)
    return mean.view(planes), rstd.view(planes).pow_(-2)


def _channels_last_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    # A batch norm of one image. In this format torch's group norm computes
    # variances as differences of large numbers. The batch norm adds up the
    # pixels of a channel one by one in float32, which loses digits where an
    # image has many. Therefore a large image is cut into rows.
    n, c, height, width = x.shape
    parts = list(_parts([x], [], PIXELS * c))
    moments = [_batch_moments(part) for (part,) in parts]
    if len(moments) == 1:
        mean, var = moments[0]
        return mean[None], var[None]
    mean, var = (torch.stack(each) for each in zip(*moments, strict=True))
    if len(moments) == n:
        return mean, var
    mean, var = mean.view(n, -1, c), var.view(n, -1, c)
    heights = [part.shape[2] for (part,) in parts[: mean.shape[1]]]
    share = mean.new_tensor(heights) / height
    whole = share @ mean
    offset = mean - whole[:, None]
    return whole, share @ (var + offset.square())


def _batch_moments(image: Tensor) -> tuple[Tensor, Tensor]:
    unused = image.new_empty(image.shape[1], dtype=_wide(image))
    return torch.batch_norm_update_stats(image, unused, unused, 0.0)


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return ``scale * (x - mean) + shift``."""
    y = torch.empty_like(x)
    for out, image, *numbers in _parts([y, x], [mean, scale, shift]):
        _write_affine(out, image, *numbers)
    return y


def _write_affine(
    out: Tensor, image: Tensor, mean: Tensor, scale: Tensor, shift: Tensor
) -> None:
    # This is a batch normalization with given statistics. The kernel writes
    # into a given tensor, because a view as the result would not let an
    # in-place ReLU follow.
    nothing = mean.new_empty(0)
    torch.native_batch_norm(
        image,
        scale,
        shift,
        mean,
        torch.ones_like(mean),
        False,
        0.0,
        0.0,
        out=(out, nothing, nothing),
    )


def plane_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane."""
    # These are the gradients of weight and bias of a batch normalization
    # with a standard deviation of 1.
    products, totals = [], []
    for image, dy_, mean_ in _parts([x, _like(dy, x)], [mean]):
        one = torch.ones_like(mean_)
        _, product, total = torch.ops.aten.native_batch_norm_backward(
            dy_,
            image,
            one,
            None,
            None,
            mean_,
            one,
            True,
            0.0,
            [False, True, True],
        )
        products.append(product)
        totals.append(total)
    product, total = _joined(products, 0), _joined(totals, 0)
    return product.view_as(mean), total.view_as(mean)


def input_grad(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    through_var: Tensor,
    through_mean: Tensor,
) -> Tensor:
    """Return ``scale * dy + through_var * (x - mean) + through_mean``."""
    dx = torch.empty_like(x)
    for out, part, dy_, scale_, *numbers in _parts(
        [dx, x, _like(dy, x)], [scale, mean, through_var, through_mean], PART
    ):
        wide_part = part.to(_wide(x))
        grad = out if wide_part is part else wide_part
        _write_affine(grad, wide_part, *numbers)
        over = scale_.view(-1, *[1] * (part.dim() - 2))
        grad.addcmul_(dy_.to(_wide(x)), over)
        if grad is not out:
            out.copy_(grad)
    return dx


def _like(dy: Tensor, x: Tensor) -> Tensor:
    memory_format = (
        torch.contiguous_format if x.is_contiguous() else torch.channels_last
    )
    return dy.to(x.dtype).contiguous(memory_format=memory_format)


def _parts(
    tensors: list[Tensor], numbers: list[Tensor], size: int = sys.maxsize
) -> Iterator[tuple[Tensor, ...]]:
    # Yield parts of about size values, each an image in the sense above, with
    # the numbers of its planes: planes of contiguous tensors, and rows of
    # channels-last ones.
    n, c, *sizes = tensors[0].shape
    dtype = _wide(tensors[0])
    numbers = [t.to(dtype) for t in numbers]
    if tensors[0].is_contiguous():
        c *= n
        tensors = [t.view(1, c, -1) for t in tensors]
        numbers = [t.reshape(-1) for t in numbers]
        at_once = size // math.prod(sizes)
        if c <= at_once:
            yield *tensors, *numbers
            return
        at_once = max(at_once, 1)
        yield from zip(
            *(t.split(at_once, 1) for t in tensors),
            *(t.split(at_once) for t in numbers),
            strict=True,
        )
        return
    at_once = max(size // (c * sizes[1]), 1)
    images = [tensors]
    if n > 1:
        images = zip(*(t.split(1) for t in tensors), strict=True)
    for image, *of_image in zip(images, *numbers, strict=True):
        if sizes[0] <= at_once:
            yield *image, *of_image
            continue
        for part in zip(*(t.split(at_once, 2) for t in image), strict=True):
            yield *part, *of_image


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
