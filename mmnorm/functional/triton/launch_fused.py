# Copyright (c) mmnorm contributors. All rights reserved.
"""Whole norms in two launches forward and two backward.

An all-reduce takes one more launch each way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..batch_part import BatchPart
from .counters import counters
from .fused_backward_kernels import sums_and_gradients
from .fused_forward_kernels import moments_and_coefficients
from .fused_plane_kernels import apply, apply_grad
from .launch import launch
from .launch_fused_total import launch_coefficients, launch_gradient_of_sums
from .launch_planes import fuses
from .plan import Plan, make_plan
from .plane_layout import match_format, with_strides

# A program pools so many channels of a group; with more, registers spill.
MAX_POOLED = 1024
Norm = tuple[
    int, Tensor | None, Tensor | None, Tensor | None, Tensor | None, float
]


def supports(x: Tensor, norm: Norm) -> bool:
    """Return whether the kernels support a norm of an input.

    Args:
        x: Activations that :func:`launch_planes.supports`.
        norm: As in :func:`fused_norm`.
    """
    num_groups, *parameters, _ = norm
    return x.shape[1] <= MAX_POOLED * max(num_groups, 1) and all(
        p is None or p.is_contiguous() for p in parameters
    )


def fused_norm(
    x: Tensor,
    norm: Norm,
    batch: BatchPart | None,
    activation: nn.Module | None,
) -> Tensor:
    """Return the norm of an input that :func:`supports` accepts.

    Args:
        x: Activations.
        norm: The number of groups of the channel part, or 0 for none; weight
            and bias of the batch part; weight, bias and eps of the channel
            part.
        batch: The batch part; None leaves it out.
        activation: A module to apply to the result.
    """
    num_groups, *parameters, eps = norm
    fused = activation if fuses(activation) else None
    y = _FusedNorm.apply(x, *parameters, (num_groups, eps, batch, fused))
    return y if activation is fused else activation(y)


class _FusedNorm(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, weight, bias, settings) -> Tensor:
        num_groups, eps, batch, activation = settings
        parameters = gamma, beta, weight, bias
        plan = make_plan(x, num_groups, activation, parameters)
        num_weights = x.shape[1] if weight is None else weight.numel()
        planes, channels, sums = launch_moments(
            x, plan, batch, parameters, num_weights, eps
        )
        if sums is not None:
            batch.reduce(sums)
            launch_coefficients(
                x,
                plan,
                batch,
                (sums, planes, channels),
                parameters,
                num_weights,
                eps,
            )
        saved = planes, channels, sums
        ctx.save_for_backward(x, *saved, gamma, beta, weight)
        ctx.plan, ctx.num_weights, ctx.eps, ctx.batch = (
            plan,
            num_weights,
            eps,
            batch,
        )
        ctx.has_bias, ctx.strides = bias is not None, x.stride()
        return launch_apply(x, plan, planes)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, *saved, gamma, beta, weight = ctx.saved_tensors
        x = with_strides(x, ctx.strides)
        dy = match_format(dy, x)
        c, num_weights, batch = x.shape[1], ctx.num_weights, ctx.batch
        sizes = [num_weights, num_weights]
        if batch is not None:
            sizes = [c, c, *sizes]
        grad_parameters = saved[0].new_empty(sum(sizes))
        grad_planes, grad_sums = launch_sums(
            dy,
            x,
            ctx.plan,
            batch,
            saved,
            grad_parameters,
            (gamma, beta, weight),
            num_weights,
            ctx.eps,
        )
        dx = None
        if ctx.needs_input_grad[0]:
            if grad_sums is not None:
                batch.reduce(grad_sums)
                launch_gradient_of_sums(
                    x, ctx.plan, saved, grad_sums, grad_planes
                )
            dx = launch_input_grad(dy, x, ctx.plan, saved[0], grad_planes)
        grads = grad_parameters.split(sizes)
        if batch is None:
            grads = None, None, *grads
        return (
            dx,
            *grads[:2],
            None if weight is None else grads[2],
            grads[3] if ctx.has_bias else None,
            None,
        )


def launch_moments(
    x: Tensor,
    plan: Plan,
    batch: BatchPart | None,
    parameters: tuple[Tensor | None, ...],
    num_weights: int,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return numbers per plane, per channel, and sums for other processes.

    The numbers per plane are mean, variance, scale and shift. Those per
    channel are what the batch part normalizes with, and the moments of the
    batch. Where there are sums, scale and shift are not there yet.
    """
    n, c, *_ = plan.sizes
    planes = x.new_empty(4 * n * c, dtype=torch.float32)
    partial = x.new_empty(2 * n * c * plan.num_chunks, dtype=torch.float32)
    channels, sums, kind = None, None, ''
    running, momentum, batch_eps = (None,) * 3, 0.0, 0.0
    if batch is not None:
        channels = x.new_empty(4 * c, dtype=torch.float32)
        kind, *running, sums, momentum, batch_eps = batch[:7]
        if batch.reduce is not None:
            kind = 'sums'
            sums = x.new_empty(2 * c + 2, dtype=torch.float64)
    rate = 0.0 if momentum is None else float(momentum)
    launch(
        moments_and_coefficients,
        plan.num_programs,
        x,
        (x,),
        (
            *(partial, planes, channels, counters(x, 1 + n * plan.num_teams)),
            *(*parameters, *running, sums),
            *(*plan.sizes, c // num_weights),
            *(rate, float(batch_eps), float(eps)),
        ),
        (
            *(kind, momentum is None, *plan.reads),
            *(plan.team_of_image if kind in ('', 'given') else plan.team),
        ),
        plan.types,
        plan.num_warps,
    )
    return planes, channels, sums if kind == 'sums' else None


def launch_apply(x: Tensor, plan: Plan, planes: Tensor) -> Tensor:
    """Return the activated affine map of each plane."""
    y = torch.empty_like(x)
    arguments = planes, plan.slope, *plan.sizes[:3]
    types = plan.types[:2]
    launch(apply, plan.num_tiles, x, (x, y), arguments, plan.tile, types)
    return y


def launch_sums(
    dy: Tensor,
    x: Tensor,
    plan: Plan,
    batch: BatchPart | None,
    saved: Sequence[Tensor | None],
    grad_parameters: Tensor | None,
    parameters: tuple[Tensor | None, ...],
    num_weights: int,
    eps: float,
    gradient: str = '',
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the moments, and write those of parameters.

    With ``gradient='sums'``, return those of scale and shift instead. The
    second result is the gradients of the sums for other processes.
    """
    n, c, *_ = plan.sizes
    grad_planes = x.new_empty(2 * n * c, dtype=torch.float32)
    partial = x.new_empty(2 * n * c * plan.num_chunks, dtype=torch.float32)
    planes, channels, sums = saved
    grad_sums, share, batch_eps = None, 0.0, 0.0
    if batch is not None and not gradient:
        batch_eps, gradient, share = batch.eps, batch.gradient, batch.share
        if gradient == 'batch' and sums is not None:
            gradient = 'total'
            grad_sums = torch.empty_like(sums)
        elif gradient and n == 1:
            gradient = 'image'  # the same, without sums over images
    launch(
        sums_and_gradients,
        plan.num_programs,
        x,
        (x, dy),
        (
            *(planes, channels, partial, grad_planes, grad_parameters),
            *(sums, grad_sums),
            *(counters(x, plan.num_teams), *parameters),
            *(*plan.sizes, c // num_weights, plan.slope),
            *(float(share), float(batch_eps), float(eps)),
        ),
        (
            *(gradient, batch is not None, num_weights < c, plan.tile[0]),
            *(*plan.reads, *plan.team),
        ),
        (*plan.types, dy.dtype),
        plan.num_warps,
    )
    return grad_planes, grad_sums


def launch_input_grad(
    dy: Tensor, x: Tensor, plan: Plan, planes: Tensor, grad_planes: Tensor
) -> Tensor:
    """Return the gradient of an activation."""
    dx = torch.empty_like(x)
    launch(
        apply_grad,
        plan.num_tiles,
        x,
        (x, dx, dy),
        (planes, grad_planes, plan.slope, *plan.sizes[:3]),
        plan.tile,
        (*plan.types[:2], dy.dtype),
    )
    return dx
