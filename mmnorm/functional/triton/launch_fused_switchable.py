# Copyright (c) mmnorm contributors. All rights reserved.
"""Switchable norm in three launches forward and three backward.

The statistics of a layer mix those of all channels of an image and those of
all images of a channel, so no team of programs has all that it needs. A
program of its own mixes them.
"""

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..batch_part import BatchPart
from .counters import counters
from .fused_switchable_kernels import (
    fused_switchable,
    fused_switchable_grad,
)
from .launch import launch
from .launch_coefficients import (
    MAX_POOLED,
    images_per_tile,
    next_power_of_2,
)
from .launch_fused import (
    launch_apply,
    launch_input_grad,
    launch_moments,
    launch_sums,
)
from .launch_fused_total import launch_coefficients, launch_gradient_of_sums
from .launch_planes import fuses
from .launch_switchable import GRAD_WARPS
from .plan import make_plan
from .plane_layout import match_format, with_strides

NOTHING = None, None, None, None  # no weight and bias before the mix
Parameters = tuple[Tensor, Tensor, Tensor, Tensor]


def supports_switchable(x: Tensor, parameters: Parameters) -> bool:
    """Return whether the kernels support a switchable norm of an input.

    Args:
        x: Activations that :func:`launch_planes.supports`.
        parameters: As in :func:`switchable_norm`.
    """
    return x.shape[1] <= MAX_POOLED and all(
        p.is_contiguous() for p in parameters
    )


def switchable_norm(
    x: Tensor,
    parameters: Parameters,
    eps: float,
    batch: BatchPart | None,
    activation: nn.Module | None,
) -> Tensor:
    """Return the switchable norm of an input.

    Args:
        x: Activations.
        parameters: Logits of the means and the variances, weight, bias.
        eps: Added to the mixed variance.
        batch: Statistics of the batch; None leaves them out of the mix.
        activation: A module to apply to the result.
    """
    fused = activation if fuses(activation) else None
    y = _FusedSwitchable.apply(x, *parameters, (eps, batch, fused))
    return y if activation is fused else activation(y)


class _FusedSwitchable(Function):
    @staticmethod
    def forward(ctx, x, mean_weight, var_weight, weight, bias, settings):
        eps, batch, activation = settings
        n, c = x.shape[:2]
        parameters = mean_weight, var_weight, weight, bias
        plan = make_plan(x, 0, activation, parameters)
        planes, channels, batch_sums = launch_moments(
            x, plan, batch, NOTHING, c, eps
        )
        if batch_sums is not None:
            batch.reduce(batch_sums)
            saved = batch_sums, planes, channels
            launch_coefficients(x, plan, batch, saved, NOTHING, c, eps)
        of_batch = planes if channels is None else channels
        block = next_power_of_2(c)
        ctx.constants = batch is not None, images_per_tile(n, block), block
        ctx.plan, ctx.batch, ctx.eps = plan, batch, float(eps)
        ctx.strides = x.stride()
        launch(
            fused_switchable,
            -(-n // ctx.constants[1]),
            x,
            (),
            (planes, of_batch, *parameters, n, c, ctx.eps),
            ctx.constants,
            plan.types,
        )
        saved = planes, of_batch, batch_sums
        ctx.save_for_backward(x, *saved, *parameters[:3])
        return launch_apply(x, plan, planes)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, planes, channels, batch_sums, *parameters = ctx.saved_tensors
        saved = planes, channels, batch_sums
        plan, batch, (n, c) = ctx.plan, ctx.batch, x.shape[:2]
        x = with_strides(x, ctx.strides)
        dy = match_format(dy, x)
        grad_coefficients, _ = launch_sums(
            dy, x, plan, None, saved, None, NOTHING[:3], c, ctx.eps, 'sums'
        )
        grad_planes = torch.empty_like(grad_coefficients)
        gradient, grad_sums = 'affine', None
        if batch and batch.gradient:
            gradient = 'batch'
        if gradient == 'batch' and batch_sums is not None:
            gradient, grad_sums = 'total', torch.empty_like(batch_sums)
        terms = parameters[0].numel()
        grad_parameters = planes.new_empty(2 * c + 6)
        programs = -(-n // ctx.constants[1])
        partial = planes.new_empty(programs * (4 * c + 6))
        launch(
            fused_switchable_grad,
            programs,
            x,
            (),
            (
                *(planes, channels, *parameters, grad_coefficients),
                *(grad_planes, grad_parameters, partial, counters(x, 1)),
                *(batch_sums, grad_sums, n, c, ctx.eps),
            ),
            (gradient, *ctx.constants),
            plan.types,
            GRAD_WARPS,
        )
        dx = None
        if ctx.needs_input_grad[0]:
            if grad_sums is not None:
                batch.reduce(grad_sums)
                launch_gradient_of_sums(x, plan, saved, grad_sums, grad_planes)
            dx = launch_input_grad(dy, x, plan, planes, grad_planes)
        weight, bias, of_mean, of_var = grad_parameters.split((c, c, 3, 3))
        if terms < 3:
            of_mean, of_var = of_mean[:terms], of_var[:terms]
        return dx, of_mean, of_var, weight, bias, None
