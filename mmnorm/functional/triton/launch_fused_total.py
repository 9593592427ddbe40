# Copyright (c) mmnorm contributors. All rights reserved.
"""The launch of a fused norm behind each all-reduce."""

from collections.abc import Sequence

from torch import Tensor

from ..batch_part import BatchPart
from .counters import counters
from .fused_total_kernels import add_gradient_of_total, coefficients_of_total
from .launch import launch
from .plan import Plan

IMAGES, BLOCK = 32, 64


def launch_coefficients(
    x: Tensor,
    plan: Plan,
    batch: BatchPart,
    saved: tuple[Tensor, Tensor, Tensor],
    parameters: tuple[Tensor | None, ...],
    num_weights: int,
    eps: float,
) -> None:
    """Write scale and shift per plane, and move the running statistics.

    Args:
        x: Activations.
        plan: The plan of the norm.
        batch: The batch part.
        saved: Sums of all processes, numbers per plane and per channel.
        parameters: Weight and bias of the batch and of the channel part.
        num_weights: Length of the latter.
        eps: The eps of the channel part.
    """
    n, c, _, _, per_group = plan.sizes
    kind, *running, _, momentum, batch_eps = batch[:7]
    rates = float(momentum or 0.0), float(batch.base_batch_size or 0)
    images, _, groups, block = plan.team
    launch(
        coefficients_of_total,
        plan.num_teams,
        x,
        (),
        (
            *(*saved, counters(x, 1), *parameters, *running),
            *(n, c, per_group, c // num_weights),
            *(*rates, float(batch_eps), float(eps)),
        ),
        (kind, momentum is None, plan.reads[0], images, groups, block),
        plan.types,
        plan.num_warps,
    )


def launch_gradient_of_sums(
    x: Tensor,
    plan: Plan,
    saved: Sequence[Tensor],
    grad_sums: Tensor,
    grad_planes: Tensor,
) -> None:
    """Add the gradients of the sums to those of the moments of the planes.

    Args:
        x: Activations.
        plan: The plan of the norm.
        saved: Numbers per plane and per channel, and sums of all processes.
        grad_sums: Gradients of the sums, by all processes.
        grad_planes: Gradients of the moments, which change in place.
    """
    n, c, num_pixels, *_ = plan.sizes
    planes, channels, sums = saved
    launch(
        add_gradient_of_total,
        -(-c // BLOCK),
        x,
        (),
        (sums, grad_sums, planes, channels, grad_planes, n, c, num_pixels),
        (1 if n == 1 else IMAGES, BLOCK),
        num_pixels >> 31,
    )
