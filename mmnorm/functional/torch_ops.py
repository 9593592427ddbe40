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

from . import native_ops

# torch.compiler has the function since torch 2.3.
_is_compiling = getattr(
    torch.compiler, 'is_compiling', torch._utils.is_compiling
)


def fuses(activation: nn.Module | None) -> bool:
    """Return whether the operators apply an activation: they apply none."""
    return False


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each plane, in float32 at least."""
    if not supports_native(x):
        return differentiable_moments(x)
    return native_ops.moments(x)


def differentiable_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the moments, from operators that autograd differentiates.

    Raises:
        ValueError: If the input has fewer than two dimensions.
    """
    if x.dim() < 2:
        raise ValueError(
            f'expected an input of shape (N, C, *), got {tuple(x.shape)}'
        )
    if x.dim() == 2:  # torch would take no dimension for all dimensions
        x = x[..., None]
    if not is_traced() and x.numel() == 0:
        # torch returns NaN for a plane without pixels, and one NaN would
        # reach every process through the sums. Without images, as in a head
        # without regions, torch warns of the degrees of freedom. The zeros
        # have a gradient, because the backward of the other processes waits
        # for the all-reduce of this one.
        zeros = x.sum(_planes(x), dtype=_wide(x))
        return zeros, zeros
    var, mean = torch.var_mean(x.to(_wide(x)), _planes(x), correction=0)
    return mean, var


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return ``scale * (x - mean) + shift``, in dtype and format of ``x``."""
    if supports_native(x):
        return native_ops.affine(x, mean, scale, shift)
    centered = x - over(x, mean)
    return torch.addcmul(over(x, shift), centered, over(x, scale)).to(x.dtype)


def plane_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane."""
    if supports_native(x):
        return native_ops.plane_sums(dy, x, mean)
    dy = dy.to(_wide(x))
    product = dy * (x - over(x, mean))
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
    if supports_native(x):
        return native_ops.input_grad(
            dy, x, mean, scale, through_var, through_mean
        )
    grad = affine(x.to(_wide(x)), mean, through_var, through_mean)
    return grad.addcmul_(dy.to(_wide(x)), over(x, scale)).to(x.dtype)


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


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _wide(x: Tensor) -> torch.dtype:
    return wide(x.dtype)


def _planes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def over(x: Tensor, per_plane: Tensor) -> Tensor:
    """Return numbers per plane or per channel that broadcast over ``x``.

    Args:
        x: An activation.
        per_plane: Numbers of shape :math:`(N, C)` or :math:`(C)`.
    """
    return per_plane.to(_wide(x))[(...,) + (None,) * (x.dim() - 2)]
