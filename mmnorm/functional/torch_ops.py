# Copyright (c) mmnorm contributors. All rights reserved.
"""The four plane operators, written with torch's operators.

Each of ``moments``, ``affine``, ``plane_sums`` and ``input_grad`` reads an
activation ``x`` of shape :math:`(N, C, *)`, with ``S`` pixels per plane, and
numbers per plane of shape :math:`(N, C)`. Another backend is another module
with the same functions.
"""

import functools

import torch
from torch import Tensor, nn

# torch.compiler has the function since torch 2.3.
_is_compiling = getattr(
    torch.compiler, 'is_compiling', torch._utils.is_compiling
)
# Number of pixels whose moments are computed at once on CPU. torch computes
# a normalized copy beside them. If this copy is large, the system has to map
# fresh memory for it, which takes longer than the moments.
MOMENTS_AT_ONCE = 2**21


def fuses(activation: nn.Module | None) -> bool:
    """Return whether the operators apply an activation: they apply none."""
    return False


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each plane, in float32 at least."""
    if x.shape[2:].numel() == 0:
        # torch returns NaN for a plane without pixels, and one NaN would
        # reach every process through the sums.
        zeros = x.new_zeros(x.shape[:2], dtype=_wide(x))
        return zeros, zeros
    if not supports_native(x):
        return differentiable_moments(x)
    return (
        _contiguous_moments(x)
        if x.is_contiguous()
        else _channels_last_moments(x)
    )


def differentiable_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the moments, from operators that autograd differentiates."""
    var, mean = torch.var_mean(x.to(_wide(x)), _planes(x), correction=0)
    return mean, var


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return ``scale * (x - mean) + shift``, in dtype and format of ``x``."""
    if supports_native(x):
        return _native_affine(x, mean, scale, shift)
    centered = x - _over(x, mean)
    return torch.addcmul(_over(x, shift), centered, _over(x, scale)).to(
        x.dtype
    )


def plane_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane."""
    if supports_native(x):
        return _native_sums(dy, x, mean)
    dy = dy.to(_wide(x))
    product = dy * (x - _over(x, mean))
    return product.sum(_planes(x)), dy.sum(_planes(x))


def input_grad(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    grad_mean: Tensor,
    grad_var: Tensor,
) -> Tensor:
    """Return the gradient of ``x``, through affine map and both moments.

    The gradient is ``scale * dy + 2 * grad_var / S * (x - mean) + grad_mean
    / S``. This is the centered form, because the raw form loses digits where
    the mean is large.
    """
    num_pixels = max(x.shape[2:].numel(), 1)
    through_var = grad_var * (2 / num_pixels)
    through_mean = grad_mean / num_pixels
    grad = affine(x.to(_wide(x)), mean, through_var, through_mean)
    return grad.addcmul_(dy.to(_wide(x)), _over(x, scale)).to(x.dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of statistics: float32, or float64 for float64.

    Args:
        dtype: The dtype of an activation.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def supports_native(x: Tensor) -> bool:
    """Return whether torch's norm kernels for CPU support ``x``."""
    return (
        not is_traced()
        and x.device.type == 'cpu'
        and _has_native(x.dtype)
        and x.dim() > 2
        and x.numel() > 0
        and (x.is_contiguous() or _is_channels_last(x))
    )


@functools.cache
def _has_native(dtype: torch.dtype) -> bool:
    # Older torch takes no half precision with parameters in float32.
    x, one = torch.ones(1, 1, 2, dtype=dtype), torch.ones(1, dtype=wide(dtype))
    try:
        torch.native_group_norm(x, one, one, 1, 1, 2, 1, 0.0)
        torch.native_batch_norm(x, one, one, one, one, False, 0.0, 0.0)
    except RuntimeError:
        return False
    return True


def is_traced() -> bool:
    """Return whether torch.compile, an exporter or a tracer records."""
    return _is_compiling() or torch.jit.is_tracing()


# On CPU the operators call the kernels of torch's norms, which read memory
# once. These kernels see a plane as a channel: a contiguous tensor is one
# image of N * C channels, and a channels-last tensor is N images of C
# channels. With parameters in float32, the kernels compute half precision
# in float32.


def _contiguous_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    # A group norm with one channel per group is accurate and the fastest.
    # With an eps of 0 its statistics are exact, and 1 / inf is 0.
    (image,) = _images(x)
    num_pixels = image.shape[2]
    parts = []
    for part in image.split(max(MOMENTS_AT_ONCE // num_pixels, 1), 1):
        c = part.shape[1]
        one = part.new_ones(c, dtype=_wide(x))
        _, *of_part = torch.native_group_norm(
            part, one, one, 1, c, num_pixels, c, 0.0
        )
        parts.append(of_part)
    mean, rstd = (torch.cat(each, 1) for each in zip(*parts, strict=True))
    return mean.view(x.shape[:2]), rstd.view(x.shape[:2]).pow(-2)


def _channels_last_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    # A batch norm of one image. In this format torch's group norm computes
    # variances as differences of large numbers.
    unused = x.new_zeros(2, x.shape[1], dtype=_wide(x))
    moments = [
        torch.batch_norm_update_stats(image, *unused, 0.0)
        for image in _images(x)
    ]
    mean, var = (torch.stack(each) for each in zip(*moments, strict=True))
    return mean, var


def _native_affine(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    # This is a batch normalization with given statistics.
    y = torch.empty_like(x)
    images = zip(
        _images(x),
        _images(y),
        *(_by_image(x, t) for t in (mean, scale, shift)),
        strict=True,
    )
    for image, out, mean_, scale_, shift_ in images:
        nothing = mean_.new_empty(0)
        torch.native_batch_norm(
            image,
            scale_,
            shift_,
            mean_,
            torch.ones_like(mean_),
            False,
            0.0,
            0.0,
            # The kernel writes into a tensor that is no view, because an
            # in-place ReLU may follow.
            out=(out, nothing, nothing),
        )
    return y


def _native_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    # These are the gradients of weight and bias of a batch normalization
    # with a standard deviation of 1.
    dy = torch.empty_like(x).copy_(dy) if dy.stride() != x.stride() else dy
    sums = []
    for dy_, image, mean_ in zip(
        _images(dy.to(x)), _images(x), _by_image(x, mean), strict=True
    ):
        one = torch.ones_like(mean_)
        _, *of_image = torch.ops.aten.native_batch_norm_backward(
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
        sums.append(of_image)
    product, total = (torch.cat(each) for each in zip(*sums, strict=True))
    return product.view_as(mean), total.view_as(mean)


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _images(x: Tensor) -> tuple[Tensor, ...]:
    if x.is_contiguous():
        return (x.view(1, x.shape[:2].numel(), -1),)
    return x.split(1)


def _by_image(x: Tensor, per_plane: Tensor) -> Tensor:
    # One row holds the numbers of all planes of an image.
    rows = 1 if x.is_contiguous() else len(x)
    return per_plane.to(_wide(x)).reshape(rows, -1)


def _wide(x: Tensor) -> torch.dtype:
    return wide(x.dtype)


def _planes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _over(x: Tensor, per_plane: Tensor) -> Tensor:
    # (N, C) -> (N, C, 1, ..., 1)
    return per_plane.to(_wide(x))[(...,) + (None,) * (x.dim() - 2)]
