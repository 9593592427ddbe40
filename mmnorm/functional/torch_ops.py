# Copyright (c) mmnorm contributors. All rights reserved.
"""The four passes over an activation, in plain torch operators.

Every function reads ``x`` of shape :math:`(N, C, *)` with ``S`` pixels a
plane and per-plane numbers of shape :math:`(N, C)`. Another backend is
another file with these four functions.
"""

import torch
from torch import Tensor, nn

# Pixels whose moments are taken at once on CPU. They come with a normalized
# copy that nobody wants: if it is large, the system has to find fresh memory
# for it, which takes longer than the moments.
MOMENTS_AT_ONCE = 2**21


def fuses(activation: nn.Module | None) -> bool:
    """Whether an activation is part of the passes: none is."""
    return False


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each plane, in float32 at least."""
    if x.shape[2:].numel() == 0:
        # torch answers NaN for a plane without pixels, and one NaN would
        # reach every process through the pooled moments.
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
    """The same, for autograd to see through."""
    var, mean = torch.var_mean(x.to(_wide(x)), _planes(x), correction=0)
    return mean, var


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``scale * (x - mean) + shift``, in the dtype and format of ``x``."""
    if supports_native(x):
        return _native_affine(x, mean, scale, shift)
    mean, scale, shift = (_over(x, t) for t in (mean, scale, shift))
    return torch.addcmul(shift, x - mean, scale).to(x.dtype)


def plane_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """``sum(dy * (x - mean))`` and ``sum(dy)`` of each plane."""
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
    """Gradient of ``x`` through the affine map and through both moments.

    ``scale * dy + 2 * grad_var / S * (x - mean) + grad_mean / S``: the
    centered form, because the raw one cancels where the mean is large.
    """
    num_pixels = max(x.shape[2:].numel(), 1)
    through_var = grad_var * (2 / num_pixels)
    through_mean = grad_mean / num_pixels
    grad = affine(x.to(_wide(x)), mean, through_var, through_mean)
    return grad.addcmul_(dy.to(_wide(x)), _over(x, scale)).to(x.dtype)


def supports_native(x: Tensor) -> bool:
    """Whether torch's own kernels for CPU take it as it is."""
    # What is recorded is fused, or run, by others.
    return (
        x.device.type == 'cpu'
        and x.is_floating_point()
        and x.dim() > 2
        and x.numel() > 0
        and (x.is_contiguous() or _is_channels_last(x))
        and not is_traced()
    )


def is_traced() -> bool:
    """Whether a compiler, an exporter or a tracer is looking on."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


# On CPU the passes are those of torch's norms, which read memory once. To
# them a plane is a channel: a contiguous tensor is one image of N * C, a
# channels last one N images of C channels. Given parameters in float32, they
# compute in it also what is in half precision.


def _contiguous_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    # Those of a group norm with a group a channel, accurate and fastest. At
    # eps 0 they are exact, and 1 / inf is 0.
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
    # Those of a batch norm of one image. Here those of torch's group norm
    # are differences of large numbers.
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
    # Batch normalization with given statistics.
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
            # In place, for what follows may not be a view: a ReLU writes
            # into it.
            out=(out, nothing, nothing),
        )
    return y


def _native_sums(dy: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    # The gradients of gain and offset of a batch normalization with a
    # standard deviation of 1.
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
    # The numbers of the planes of each image in a row.
    rows = 1 if x.is_contiguous() else len(x)
    return per_plane.to(_wide(x)).reshape(rows, -1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _planes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _over(x: Tensor, per_plane: Tensor) -> Tensor:
    # (N, C) -> (N, C, 1, ..., 1)
    return per_plane.to(_wide(x))[(...,) + (None,) * (x.dim() - 2)]
