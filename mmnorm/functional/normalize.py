# Copyright (c) mmnorm contributors. All rights reserved.
"""The pipe every norm runs through: moments, coefficients, affine."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import torch_ops
from .backend import backend_of

Coefficients = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def normalize(
    x: Tensor,
    coefficients: Coefficients,
    activation: nn.Module | None = None,
) -> Tensor:
    r"""Normalise with a scale and a shift computed from the plane moments.

    .. math::
        y_{ncs} = a_{nc} (x_{ncs} - \mu_{nc}) + b_{nc}, \qquad
        (a, b) = \text{coefficients}(\mu, \sigma^2, S)

    Every norm of this package is this map with its own ``coefficients``.
    A new one needs nothing else: gradients, half precision, memory formats
    and synchronised statistics come with the pipe. The backward reads ``x``
    and ``dy`` twice and writes ``dx`` once, as batch normalisation does.
    Second derivatives are not available and raise an error. Under
    ``torch.compile`` the same map is plain operators.

    Args:
        x: Activations.
        coefficients: Differentiable function of the mean and the biased
            variance of each plane, both :math:`(N, C)` in float32 at least,
            and of the number of pixels a plane. Returns scale and shift,
            each broadcastable to :math:`(N, C)`.
        activation: What is applied to the result. The Triton kernels do it
            in the same pass, and recompute its argument in the backward.

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
    # Not numel(): an export would take what it says for a constant.
    num_pixels = math.prod(x.shape[2:])
    if torch_ops.is_recorded():
        # Plain operators: a compiler fuses them better than we order them,
        # and would take what travels along the wires for gradients.
        mean, var = torch_ops.differentiable_moments(x)
        y = torch_ops.affine(x, mean, *coefficients(mean, var, num_pixels))
        return y if activation is None else activation(y)
    passes = backend_of(x)
    fused = activation if passes.fuses(activation) else None
    *wires, mean, var = _Moments.apply(x, passes, fused)
    scale, shift = coefficients(mean, var, num_pixels)
    scale, shift = scale.expand_as(mean), shift.expand_as(mean)
    y = _Affine.apply(*wires, x, mean, scale, shift, passes, fused)
    return y if activation is fused else activation(y)


# The gradient of x has three terms: through the affine map, the mean and the
# variance. Left to autograd they would be three tensors and two additions.
# So _Moments hands _Affine three wires, tensors that hold nothing on the way
# forward; on the way back _Affine sends dy, scale and shift along them, in
# place of their gradients, and _Moments forms the whole gradient in one pass.
# No one else may use the wires, and a second derivative through them would be
# wrong.


class _Moments(Function):
    @staticmethod
    def forward(ctx, x: Tensor, passes, activation) -> tuple[Tensor, ...]:
        mean, var = passes.moments(x)
        ctx.save_for_backward(x, mean)
        ctx.passes, ctx.activation = passes, activation
        wire = x.new_empty(()).expand(x.shape)
        return wire, torch.empty_like(mean), torch.empty_like(mean), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, scale, shift, grad_mean, grad_var):
        x, mean = ctx.saved_tensors
        gate = _gate(scale, shift, ctx.activation)
        dx = ctx.passes.input_grad(
            dy, x, mean, scale, grad_mean, grad_var, *gate
        )
        return dx, None, None


class _Affine(Function):
    @staticmethod
    def forward(
        ctx, wire, scale_wire, shift_wire, x, mean, scale, shift, *rest
    ) -> Tensor:
        ctx.save_for_backward(x, mean, scale, shift)
        ctx.passes, ctx.activation = rest
        gate = () if ctx.activation is None else (ctx.activation,)
        return ctx.passes.affine(x, mean, scale, shift, *gate)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, mean, scale, shift = ctx.saved_tensors
        gate = _gate(scale, shift, ctx.activation)
        grad_scale, grad_shift = ctx.passes.plane_sums(dy, x, mean, *gate)
        grad_mean = -scale * grad_shift
        wires = dy, scale, shift
        return *wires, None, grad_mean, grad_scale, grad_shift, None, None


def _gate(scale, shift, activation) -> tuple:
    # What leads back through an activation, for passes that compute it.
    return () if activation is None else ((scale, shift, activation),)
