# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms of other packages that run on a GPU only."""

import functools
from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

EPS = 1e-5
MOMENTUM = 0.1
FOREIGN = ('Liger GroupNorm', 'apex GroupNorm')


class _SyncBatchNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var) -> Tensor:
        mean, invstd = torch.batch_norm_stats(x, EPS)
        count = mean.new_full((1,), x.numel() // x.shape[1])
        mean, invstd = torch.batch_norm_gather_stats_with_counts(
            x,
            mean[None],
            invstd[None],
            running_mean,
            running_var,
            MOMENTUM,
            EPS,
            count,
        )
        ctx.save_for_backward(x, weight, mean, invstd, count.int())
        return torch.batch_norm_elemt(x, weight, bias, mean, invstd, EPS)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, mean, invstd, count = ctx.saved_tensors
        sum_dy, sum_dy_xmu, *grads = torch.batch_norm_backward_reduce(
            dy, x, mean, invstd, weight, True, True, True
        )
        dx = torch.batch_norm_backward_elemt(
            dy, x, mean, invstd, weight, sum_dy, sum_dy_xmu, count
        )
        return dx, *grads, None, None


class SyncBatchNormOperators(nn.BatchNorm2d):
    """A layer of the five operators of nn.SyncBatchNorm, for one process.

    With one process nn.SyncBatchNorm itself runs nn.BatchNorm2d. This layer
    has no all-reduce, and no wait for the GPU before an all-reduce.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _SyncBatchNorm.apply(
            x, self.weight, self.bias, self.running_mean, self.running_var
        )


@functools.cache
def _find(path: str, name: str) -> type[nn.Module] | None:
    try:
        return getattr(import_module(path), name)
    except ImportError as error:
        print(f'{path}.{name} is left out: {error}', flush=True)
        return None


def gpu_peers(label: str) -> dict[str, Callable[[int], nn.Module]]:
    """Return the installed norms that support a memory format."""
    liger = _find('liger_kernel.transformers.group_norm', 'LigerGroupNorm')
    apex = _find('apex.contrib.group_norm', 'GroupNorm')
    peers: dict[str, Callable[[int], nn.Module]] = {
        'nn.SyncBatchNorm, operators': SyncBatchNormOperators
    }
    if liger is not None:
        peers['Liger GroupNorm'] = lambda c: liger(c, 32, eps=EPS)
    # In NCHW apex calls torch's group norm.
    if apex is not None and label == 'NHWC':
        peers['apex GroupNorm'] = lambda c: apex(32, c, eps=EPS)
    return peers


def runs(name: str, step: Sequence[Callable[[], object]]) -> bool:
    """Return whether a layer of another package runs here."""
    try:
        for call in step:
            call()
    # Another package may raise anything, and the benchmark goes on without.
    except Exception as error:
        print(f'{name} is left out here: {error!r}', flush=True)
        return False
    return True
