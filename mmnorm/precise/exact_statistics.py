# Copyright (c) mmnorm contributors. All rights reserved.
"""Running statistics that are exact over a number of training batches."""

import copy
import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import all_reduce
from mmnorm.functional.statistics import moments_of
from mmnorm.layers import BCN, SN

from .running_norms import running_norms, sums_of


class Shift(NamedTuple):
    """How far the statistics of a layer moved, as a mean over channels.

    ``mean`` is in standard deviations, ``std`` a factor of at least 1.
    """

    mean: float
    std: float


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any]) -> dict[str, Shift]:
    """Replace running statistics by the exact ones of some batches.

    This is PreciseBN for every norm with running statistics: BatchNorm and
    SyncBatchNorm of torch, SyncBN, BCN and SN. Each gets the mean and the
    variance of all it sees of the batches of all processes, every pixel with
    the same weight, in float64; the old statistics leave no trace.

    - The model runs as in training, for each layer is to know the inputs it
      was trained on. So a norm of batch statistics passes on what these
      give, and the layers after it do not depend on running statistics.
    - An estimated BCN does normalize with running statistics. Here it takes
      the pooled ones of all batches so far, the present one included, as in
      training with ``momentum=None`` and no past. Passes with fixed
      statistics would need one for every layer on the way: until then an
      error of a layer grows in those behind it.
    - The variance is about the mean of the whole set. It is unbiased where
      the layer keeps an unbiased one: all but SN and the estimated BCN.
    - Frozen norms stay as they are: those that ``model.train()`` leaves in
      evaluation, such as those of a backbone with ``norm_eval=True``.
    - A call counts where it would move the statistics in training. One with
      a single value a channel, which SyncBN, SN and the batch statistics of
      BCN normalize with the running ones, does not, and neither does one
      with moments that are not finite.
    - A layer without such a call keeps what it has, and a warning names it.
    - ``num_batches_tracked`` stays.

    All runs on a copy, so modes, hooks, counters and what else a forward
    moves are those of before, and so is the state of random numbers. After
    an exception nothing has changed.

    Args:
        model: What holds the layers. One of mmengine computes its losses of
            each batch, as in a training step but in the precision of its
            weights; any other is called with it.
        batches: As a training data loader gives them; of this process.

    Returns:
        How far each layer moved, by name.

    Raises:
        ValueError: If there is no batch.

    Example::

        >>> net = nn.Sequential(nn.Conv2d(3, 32, 1), BCN(32))
        >>> list(recalibrate(net, torch.rand(5, 2, 3, 8, 8)))
        ['1']
    """
    if is_model_wrapper(model):
        model = model.module
    twin = _twin(model)
    norms = {
        name: _Seen(twin.get_submodule(name), stats)
        for name, stats in running_norms(twin)
        if stats.training
    }
    number = 0
    with keep_random_state():
        for batch in batches:
            _forward(twin, batch)
            number += 1
    if number == 0:
        raise ValueError('there is no batch to take statistics from')
    return _write(model, norms)


class _Seen:
    """The sums of what a layer sees."""

    def __init__(self, layer: nn.Module, stats: nn.Module) -> None:
        self.stats = stats
        self.sums = self.stats.running_mean.new_zeros(
            2 * self.stats.num_features + 1, dtype=torch.float64
        )
        estimated = isinstance(layer, BCN) and layer.estimate
        self.unbiased = not (estimated or isinstance(layer, SN))
        if estimated:
            self.stats.eval()
            self.pooled = self.sums.clone()
            layer.register_forward_pre_hook(self.lead)
        else:
            self.counted = self.stats.num_batches_tracked.clone()
            layer.register_forward_hook(self.watch)

    def watch(self, layer: nn.Module, args: tuple[Tensor], _: Tensor) -> None:
        sums = sums_of(args[0])
        # The layer knows whether it took the batch, which may depend on
        # what the other processes had.
        taken = self.stats.num_batches_tracked > self.counted
        self.counted.copy_(self.stats.num_batches_tracked)
        self._add(sums, taken & sums.isfinite().all())

    def lead(self, layer: BCN, args: tuple[Tensor]) -> None:
        sums = sums_of(args[0])
        group_size = layer.group_size if layer.sync else 1
        pooled = all_reduce(sums, group_size)
        finite = pooled.isfinite().all()
        self._add(sums, finite)
        self.pooled += torch.where(finite, pooled, 0)
        mean, var, _ = moments_of(self.pooled)
        self.stats.running_mean.copy_(mean)
        self.stats.running_var.copy_(var)

    def _add(self, sums: Tensor, valid: Tensor) -> None:
        self.sums += torch.where(valid, sums, 0)


def _twin(model: nn.Module) -> nn.Module:
    """A copy in training mode, with the same parameters."""
    memo = {id(parameter): parameter for parameter in model.parameters()}
    twin = copy.deepcopy(model, memo)
    for name, value in list(vars(twin).items()):
        # A compiled method is bound to the original, also in a copy.
        if hasattr(value, '_torchdynamo_orig_callable'):
            delattr(twin, name)
    twin.train()  # that of mmdet's ResNet returns nothing
    return twin


def _forward(model: nn.Module, batch: Any) -> None:
    if not isinstance(model, BaseModel):
        model(batch)
        return
    data = model.data_preprocessor(batch, True)
    if isinstance(data, dict):
        model(**data, mode='loss')
    else:
        model(*data, mode='loss')


def _write(model: nn.Module, norms: dict[str, _Seen]) -> dict[str, Shift]:
    if not norms:
        return {}
    sums = [seen.sums for seen in norms.values()]
    totals = all_reduce(torch.cat(sums)).split([len(one) for one in sums])
    originals, shifts, left = dict(running_norms(model)), {}, []
    for (name, seen), total in zip(norms.items(), totals, strict=True):
        mean, var, count = moments_of(total)
        if count == 0:
            left.append(name)
            continue
        if seen.unbiased:
            var = var * count / (count - 1).clamp(min=1)
        stats = originals[name]
        shifts[name] = _shift(stats, mean, var)
        stats.running_mean.copy_(mean)
        stats.running_var.copy_(var)
    if left:
        warnings.warn(
            'norms that no batch gave statistics keep those they have: '
            + ', '.join(left),
            stacklevel=3,
        )
    return shifts


def _shift(stats: nn.Module, mean: Tensor, var: Tensor) -> Shift:
    std = (var + stats.eps).sqrt()
    old_std = (stats.running_var + stats.eps).sqrt()
    moved = (mean - stats.running_mean).abs() / std
    grown = (std / old_std).log().abs()
    return Shift(moved.mean().item(), grown.mean().exp().item())


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Leave the random numbers of Python, numpy and torch as they are."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
