# Copyright (c) mmnorm contributors. All rights reserved.
"""Self-test of the Triton kernels against torch's operators on a device.

Every function runs once on each backend, forward and backward, on small
random tensors. The plane operators run for every dtype, memory format,
alignment and activation that the kernels are compiled for. Whole norms of
:mod:`.self_test_fused` run with every kind of batch part.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product

import torch
from torch import Tensor, nn

from mmnorm.functional import coefficients, normalize
from mmnorm.functional.dispatch import forced
from mmnorm.functional.statistics import batch_sums, update_statistics

from .self_test_fused import Results, fused_cases, random

# The error of a result is relative to its largest number, or to 1 if its
# largest number is less.
TOLERANCES = {
    torch.float32: 1e-3,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
# A case is height and width, channels_last, dtype and activation. The planes
# of the first case have several chunks, of which the last is shorter.
PLANES = (
    ((17, 19), False, torch.float32, nn.ReLU()),
    ((8, 12), False, torch.float32, None),
    ((8, 12), True, torch.float32, nn.LeakyReLU(0.2)),
    ((8, 12), False, torch.float16, nn.SiLU()),
    ((5, 7), True, torch.float16, nn.ReLU()),
    ((5, 7), False, torch.bfloat16, nn.LeakyReLU(0.2)),
    ((8, 12), True, torch.bfloat16, nn.SiLU()),
)


def first_difference(device: torch.device) -> str | None:
    """Return the first function that the backends disagree on, in words.

    Args:
        device: The device of all tensors.
    """
    with ExitStack() as stack:
        # The first forward of a process may run without gradients, under
        # autocast, or in a checkpointed function, which counts saved tensors.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device_type in {'cpu', device.type}:
            stack.enter_context(torch.autocast(device_type, enabled=False))
        hooks = torch.autograd.graph.saved_tensors_hooks(_same, _same)
        stack.enter_context(hooks)
        for name, dtype, run in _cases(device):
            with forced('torch'):
                expected = run()
            with forced('triton'):
                actual = run()
            for a, b in zip(actual, expected, strict=True):
                a, b = a.double(), b.double()
                error = (a - b).abs().max() / b.abs().max().clamp(min=1)
                if not error < TOLERANCES[dtype]:  # NaN is a difference too
                    return f'its {name} is off by {error.item():.2g}'
    return None


def _same(saved: Tensor) -> Tensor:
    return saved


def _cases(
    device: torch.device,
) -> Iterator[tuple[str, torch.dtype, Callable[[], Results]]]:
    for size, channels_last, dtype, activation in PLANES:
        name = f'normalize of {dtype} with {activation}'
        run = _planes(device, size, channels_last, dtype, activation)
        yield name, dtype, run
    for name, function, arguments in _coefficients(device):
        run = _with_gradients(device, function, arguments)
        yield name, torch.float32, run
    yield 'batch_sums', torch.float32, _batch_sums(device)
    yield from fused_cases(device)
    kinds = 'biased', 'unbiased', 'estimated'
    for kind, rates in product(kinds, ((0.3, None), (0.3, 4), (None, None))):
        run = _update(device, kind, *rates)
        yield 'update_statistics', torch.float32, run


def _planes(
    device: torch.device,
    size: tuple[int, int],
    channels_last: bool,
    dtype: torch.dtype,
    activation: nn.Module | None,
) -> Callable[[], Results]:
    # With a mean of 0, an error of the mean would not show.
    x, dy = 4 * random(device, 2, 2, 24, *size).to(dtype) - 1.5
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = (random(device, 24) + 0.5).requires_grad_()

    def instance_norm(mean: Tensor, var: Tensor, _: int) -> tuple:
        return weight * (var + 1e-3).rsqrt(), -weight * mean

    def run() -> Results:
        leaf = x.detach().requires_grad_()
        y = normalize(leaf, instance_norm, activation)
        return y.detach(), *torch.autograd.grad(y, (leaf, weight), dy)

    return run


def _coefficients(device: torch.device) -> Iterator[tuple]:
    channels, logits = random(device, 6, 24), random(device, 2, 3)
    batch, affine = channels[:4], channels[4:]
    group, channel = affine[:, :4], affine
    yield (
        'group_coefficients',
        lambda m, v: coefficients.group_coefficients(m, v, 4, *channel, 0.1),
        channel,
    )
    yield (
        'batch_coefficients',
        lambda m, v: coefficients.batch_coefficients(m, *batch, 0.1),
        batch,
    )
    for weights in (group, channel):
        yield (
            'batch_channel_coefficients',
            lambda m, v, w=weights: coefficients.batch_channel_coefficients(
                m, v, 4, (*batch, 0.1), *w, 0.1
            ),
            batch,
        )
    for terms, of_batch in ((3, batch[:2]), (2, None)):
        yield (
            'switchable_coefficients',
            lambda m, v, k=terms, b=of_batch: (
                coefficients.switchable_coefficients(
                    m, v, b, *logits[:, :k], *affine, 0.1
                )
            ),
            logits,
        )


def _with_gradients(
    device: torch.device, function: Callable, parameters: Tensor
) -> Callable[[], Results]:
    mean, var, *grads = random(device, 4, 3, 24)

    def run() -> Results:
        leaves = [t.detach().requires_grad_() for t in (mean, var)]
        leaves.append(parameters.requires_grad_())
        y = [t.expand_as(mean) for t in function(*leaves[:2])]
        found = torch.autograd.grad(y, leaves, grads, allow_unused=True)
        return *(t.detach() for t in y), *(g for g in found if g is not None)

    return run


def _batch_sums(device: torch.device) -> Callable[[], Results]:
    mean, var = random(device, 2, 3, 24)
    grad = random(device, 50).double()

    def run() -> Results:
        leaves = [t.detach().requires_grad_() for t in (mean, var)]
        sums = batch_sums(*leaves, 5)
        return sums.detach(), *torch.autograd.grad(sums, leaves, grad)

    return run


def _update(
    device: torch.device,
    kind: str,
    momentum: float | None,
    base_batch_size: int | None,
) -> Callable[[], Results]:
    mean, var, running_mean, running_var = random(device, 4, 24)

    def run() -> Results:
        with forced('torch'):
            sums = batch_sums(mean[None], var[None], 5).requires_grad_()
        running = running_mean.clone(), running_var.clone()
        number = torch.tensor(3, device=device)
        y = update_statistics(
            sums, *running, number, momentum, kind, True, base_batch_size
        )
        results = *(t.detach() for t in y), *running, number
        if kind == 'estimated':
            return results
        return *results, *torch.autograd.grad(y, sums, (mean, var))

    return run
