# Copyright (c) mmnorm contributors. All rights reserved.
"""The pipe every norm runs through: moments, coefficients, affine."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import torch_ops
from .dispatch import ops_for

Coefficients = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def normalize(
    x: Tensor,
    coefficients: Coefficients,
    activation: nn.Module | None = None,
) -> Tensor:
    r"""Normalize with a scale and a shift that the plane moments determine.

    .. math::
        y_{ncs} = a_{nc} (x_{ncs} - \mu_{nc}) + b_{nc}, \qquad
        (a, b) = \text{coefficients}(\mu, \sigma^2, S)

    Every norm of this package is this map with a ``coefficients`` function.
    A new norm needs nothing else: this function provides gradients, half
    precision, memory formats and the fused kernels. The backward reads ``x``
    and ``dy`` twice and writes ``dx`` once, as batch normalization does.
    Second derivatives are not available and raise an error. Under
    ``torch.compile`` the same map consists of plain operators.

    Args:
        x: Activations.
        coefficients: Differentiable function of the mean and the biased
            variance of each plane, both :math:`(N, C)` in float32 at least,
            and of the number of pixels per plane. It returns scale and
            shift, each broadcastable to :math:`(N, C)`.
        activation: A module to apply to the result. The Triton kernels
            apply it in the same pass, and compute its argument again in the
            backward.

    Shape:
        - Input: :math:`(N, C, *)`, any number of spatial dimensions; N may
          be 0.
        - Output: the same, with the dtype and memory format of the input.

    Raises:
        ValueError: If the input has fewer than two dimensions.

    Example::

        >>> def instance_norm(mean, var, num_pixels):
        ...     return (var + 1e-5).rsqrt(), torch.zeros_like(mean)
        >>> normalize(torch.rand(2, 8, 4, 4), instance_norm).shape
        torch.Size([2, 8, 4, 4])
    """
    if x.dim() < 2:
        raise ValueError(
            f'expected an input of shape (N, C, *), got {tuple(x.shape)}'
        )
    if x.dim() == 2:
        return normalize(x[..., None], coefficients, activation)[..., 0]
    # An export would take the result of numel() for a constant.
    num_pixels = math.prod(x.shape[2:])
    if torch_ops.is_traced():
        # A compiler fuses plain operators better than this code could order
        # them, and it would take what the carriers hold for gradients.
        mean, var = torch_ops.differentiable_moments(x)
        scale, shift = coefficients(mean, var, num_pixels)
        y = torch_ops.affine(x, mean, scale, shift)
        return y if activation is None else activation(y)
    ops = ops_for(x)
    fused = activation if ops.fuses(activation) else None
    *carriers, mean, var = _Moments.apply(x, ops, fused)
    scale, shift = coefficients(mean, var, num_pixels)
    scale, shift = scale.expand_as(mean), shift.expand_as(mean)
    y = _Affine.apply(*carriers, x, mean, scale, shift, ops, fused)
    return y if activation is fused else activation(y)


# The gradient of x has three terms: through the affine map, the mean and the
# variance. Autograd alone would make three tensors and add them twice. So
# _Moments hands _Affine three gradient carriers, tensors without memory in
# the forward; in the backward _Affine returns dy, scale and shift in place of
# the gradients of the carriers, and _Moments computes the whole gradient in
# one pass. No other function may use the carriers, and a second derivative
# through them would be wrong.


class _Moments(Function):
    @staticmethod
    def forward(ctx, x: Tensor, ops, activation) -> tuple[Tensor, ...]:
        mean, var = ops.moments(x)
        ctx.save_for_backward(x, mean)
        ctx.ops, ctx.activation = ops, activation
        of_dy = x.new_empty(()).expand(x.shape)
        of_scale, of_shift = torch.empty_like(mean), torch.empty_like(mean)
        return of_dy, of_scale, of_shift, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, scale, shift, grad_mean, grad_var):
        x, mean = ctx.saved_tensors
        fused = _fused(scale, shift, ctx.activation)
        dx = ctx.ops.input_grad(
            dy, x, mean, scale, grad_mean, grad_var, *fused
        )
        return dx, None, None


class _Affine(Function):
    @staticmethod
    def forward(
        ctx, of_dy, of_scale, of_shift, x, mean, scale, shift, ops, activation
    ) -> Tensor:
        ctx.save_for_backward(x, mean, scale, shift)
        ctx.ops, ctx.activation = ops, activation
        fused = () if activation is None else (activation,)
        return ops.affine(x, mean, scale, shift, *fused)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, mean, scale, shift = ctx.saved_tensors
        fused = _fused(scale, shift, ctx.activation)
        grad_scale, grad_shift = ctx.ops.plane_sums(dy, x, mean, *fused)
        grad_mean = -scale * grad_shift
        carried = dy, scale, shift
        return *carried, None, grad_mean, grad_scale, grad_shift, None, None


def _fused(scale: Tensor, shift: Tensor, activation) -> tuple:
    # With these, the operators compute the argument of a fused activation
    # again, and lead dy back through it.
    return () if activation is None else ((scale, shift, activation),)
