# Copyright (c) mmnorm contributors. All rights reserved.
"""The four passes over an activation, in plain torch operators.

Every function reads ``x`` of shape :math:`(N, C, *)` with ``S`` pixels a
plane and per-plane numbers of shape :math:`(N, C)`. Another backend is
another file with these four functions.
"""

import torch
from torch import Tensor


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each plane, in float32 at least."""
    if x.shape[2:].numel() == 0:
        # torch answers NaN for a plane without pixels, and one NaN would
        # reach every process through the pooled moments.
        zeros = x.new_zeros(x.shape[:2], dtype=_wide(x))
        return zeros, zeros
    if not suits_native(x):
        return differentiable_moments(x)
    # The fastest accurate moments on CPU are those of a group norm with a
    # group a channel; at eps 0 they are exact, and 1 / inf is 0.
    n, c, num_pixels = *x.shape[:2], x.shape[2:].numel()
    _, mean, rstd = torch.native_group_norm(
        x, None, None, n, c, num_pixels, c, 0.0
    )
    return mean, rstd.pow(-2)


def differentiable_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same, for autograd to see through."""
    var, mean = torch.var_mean(x.to(_wide(x)), _planes(x), correction=0)
    return mean, var


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``scale * (x - mean) + shift``, in the dtype and format of ``x``."""
    if suits_native(x):
        return _native_affine(x, mean, scale, shift)
    mean, scale, shift = (_over(x, t) for t in (mean, scale, shift))
    return torch.addcmul(shift, x - mean, scale).to(x.dtype)


def plane_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane."""
    if suits_native(x):
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
    """Gradient of ``x`` through the affine map and through both moments.

    ``scale * dy + 2 * grad_var / S * (x - mean) + grad_mean / S``: the
    centred form, because the raw one cancels where the mean is large.
    """
    num_pixels = max(x.shape[2:].numel(), 1)
    through_var = grad_var * (2 / num_pixels)
    through_mean = grad_mean / num_pixels
    grad = affine(x.to(_wide(x)), mean, through_var, through_mean)
    return grad.addcmul_(dy.to(_wide(x)), _over(x, scale)).to(x.dtype)


def suits_native(x: Tensor) -> bool:
    """Whether torch's own kernels for CPU take it as it is."""
    # Under a compiler, its own fusion is wanted.
    return (
        x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous()
        and x.dim() > 2
        and x.numel() > 0
        and not torch.compiler.is_compiling()
    )


def _native_affine(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    # One pass on CPU: batch normalisation with given statistics, of one
    # image whose channels are all the planes.
    planes = x.view(1, mean.numel(), -1)
    mean, scale, shift = (t.flatten().to(x) for t in (mean, scale, shift))
    # Written in place, for what follows may not be a view: a ReLU writes
    # into it.
    y = torch.empty_like(x)
    torch.native_batch_norm(
        planes,
        scale,
        shift,
        mean,
        torch.ones_like(mean),
        False,
        0.0,
        0.0,
        out=(y.view(planes.shape), mean.new_empty(0), mean.new_empty(0)),
    )
    return y


def _native_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    # One pass on CPU: the gradients of gain and offset of the same batch
    # normalisation, at a standard deviation of 1.
    planes = x.view(1, mean.numel(), -1)
    flat = mean.flatten().to(x)
    one = torch.ones_like(flat)
    _, product, total = torch.ops.aten.native_batch_norm_backward(
        dy.to(x).contiguous().view(planes.shape),
        planes,
        one,
        None,
        None,
        flat,
        one,
        True,
        0.0,
        [False, True, True],
    )
    return product.view_as(mean), total.view_as(mean)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _planes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _over(x: Tensor, per_plane: Tensor) -> Tensor:
    # (N, C) -> (N, C, 1, ..., 1)
    return per_plane.to(_wide(x))[(...,) + (None,) * (x.dim() - 2)]
