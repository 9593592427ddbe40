# Copyright (c) mmnorm contributors. All rights reserved.
"""Exact running statistics over a number of training batches."""

import copy
import inspect
import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import all_reduce
from mmnorm.functional.statistics import moments_of
from mmnorm.layers import BCN, BRN, SN

from .running_norms import input_sums, running_norms


class StatisticsChange(NamedTuple):
    """How far the running statistics of a norm moved, as means over channels.

    Attributes:
        mean: The distance between the two means, in standard deviations.
        std: The factor between the two standard deviations, at least 1.
    """

    mean: float
    std: float


@torch.no_grad()
def recalibrate(
    model: nn.Module, batches: Iterable[Any]
) -> dict[str, StatisticsChange]:
    """Replace running statistics by the exact statistics of some batches.

    This is PreciseBN for every norm with running statistics: BatchNorm and
    SyncBatchNorm of torch, BN, SyncBN, BRN, BCN, SN, EvoNormB0 and MetaNorm.
    Each norm gets the mean and the variance of all its inputs in the batches
    of all processes, in float64, where every pixel has the same weight. The
    old statistics do not enter.

    - The model runs in training mode, because each layer has to see the
      inputs that it was trained on. A norm of batch statistics passes on
      what these statistics give, so the layers behind the norm do not depend
      on running statistics.
    - An estimated BCN normalizes with running statistics. Here it takes the
      pooled statistics of all batches so far, including the present batch,
      as a training with ``momentum=None`` that starts now. Fixed statistics
      would need a pass for each layer on the longest path, because an error
      of a layer grows in the layers behind it.
    - The variance is about the mean of all batches. It is unbiased for norms
      that keep an unbiased variance: all but SN, BRN and the estimated BCN.
    - Frozen norms stay as they are. These are the norms that
      ``model.train()`` leaves in evaluation mode, for example those of a
      backbone with ``norm_eval=True``.
    - A call counts where it would update the statistics in training. A call
      with a single value per channel does not count for SyncBN, SN and the
      batch statistics of BCN, which normalize such a call with the running
      statistics. A call whose moments are not finite does not count either.
    - A BKN keeps its statistics, because predictions are a part of them.
    - A norm without a call that counts keeps its statistics, and a warning
      names the norm.
    - ``num_batches_tracked`` stays.

    A copy of the model runs, so the modes, hooks, counters and other buffers
    of the model stay as they were, and so do the random numbers. If an
    exception is raised, nothing has changed.

    Args:
        model: A model with norms. A model of mmengine computes its losses of
            each batch, as in a training step but without mixed precision;
            any other model is called with the batch.
        batches: Batches of this process, as a training data loader gives
            them.

    Returns:
        How far the statistics of each norm moved, by the name of the norm.

    Raises:
        ValueError: If there is no batch.

    Example::

        >>> net = nn.Sequential(nn.Conv2d(3, 32, 1), BCN(32))
        >>> list(recalibrate(net, torch.rand(5, 2, 3, 8, 8)))
        ['1']
    """
    if is_model_wrapper(model):
        model = model.module
    replica = _training_copy(model)
    inputs = {
        name: _InputSums(replica.get_submodule(name), stats)
        for name, stats in running_norms(replica)
        if stats.training
    }
    num_batches = 0
    with keep_random_state():
        for batch in batches:
            compute_losses(replica, batch)
            num_batches += 1
    if num_batches == 0:
        raise ValueError('there is no batch to take statistics from')
    return _write(model, inputs)


class _InputSums:
    """The sums of all inputs of a norm, collected by a hook."""

    def __init__(self, layer: nn.Module, stats: nn.Module) -> None:
        self.stats = stats
        self.sums = self.stats.running_mean.new_zeros(
            2 * self.stats.num_features + 2, dtype=torch.float64
        )
        estimated = isinstance(layer, BCN) and layer.estimate
        self.unbiased = not (estimated or isinstance(layer, (BRN, SN)))
        if estimated:
            self.stats.eval()
            self.pooled = self.sums.clone()
            layer.register_forward_pre_hook(self._add_and_estimate)
        else:
            self.counted = self.stats.num_batches_tracked.clone()
            layer.register_forward_hook(self._add_if_counted)

    def _add_if_counted(
        self, layer: nn.Module, args: tuple[Tensor], output: Tensor
    ) -> None:
        sums = input_sums(args[0])
        # Only the layer knows whether the call counts, because that depends
        # on the other processes as well.
        counts = self.stats.num_batches_tracked > self.counted
        self.counted.copy_(self.stats.num_batches_tracked)
        self._add(sums, counts & sums.isfinite().all())

    def _add_and_estimate(self, layer: BCN, args: tuple[Tensor]) -> None:
        sums = input_sums(args[0])
        # With sync='step' a forward does not communicate.
        group_size = layer.group_size if layer.sync is True else 1
        pooled = all_reduce(sums, group_size)
        finite = pooled.isfinite().all()
        self._add(sums, finite)
        self.pooled += torch.where(finite, pooled, 0)
        mean, var, _ = moments_of(self.pooled)
        self.stats.running_mean.copy_(mean)
        self.stats.running_var.copy_(var)

    def _add(self, sums: Tensor, valid: Tensor) -> None:
        self.sums += torch.where(valid, sums, 0)


def _training_copy(model: nn.Module) -> nn.Module:
    """Return a copy in training mode, with the same parameters."""
    memo = {id(parameter): parameter for parameter in model.parameters()}
    replica = copy.deepcopy(model, memo)
    for module in replica.modules():
        for name, value in list(vars(module).items()):
            # A wrapper of torch.compile or of mmengine's checkpointing calls
            # a method of the original module, also in a copy.
            method = inspect.unwrap(value) if callable(value) else None
            owner = getattr(method, '__self__', None)
            if type(owner) is type(module) and owner is not module:
                setattr(module, name, MethodType(method.__func__, module))
    replica.train()  # train of mmdet's ResNet returns None
    return replica


def compute_losses(model: nn.Module, batch: Any) -> Any:
    """Return the losses of a batch, or the outputs of any other model.

    Args:
        model: A model of mmengine, or a model that is called with the batch.
        batch: A batch as a training data loader gives it.
    """
    if not isinstance(model, BaseModel):
        return model(batch)
    data = model.data_preprocessor(batch, True)
    if isinstance(data, dict):
        return model(**data, mode='loss')
    return model(*data, mode='loss')


def _write(
    model: nn.Module, inputs: dict[str, _InputSums]
) -> dict[str, StatisticsChange]:
    if not inputs:
        return {}
    sums = [each.sums for each in inputs.values()]
    totals = all_reduce(torch.cat(sums)).split([len(each) for each in sums])
    originals, changes, unseen = dict(running_norms(model)), {}, []
    for (name, each), total in zip(inputs.items(), totals, strict=True):
        mean, var, count = moments_of(total)
        if count == 0:
            unseen.append(name)
            continue
        if each.unbiased:
            var = var * count / (count - 1).clamp(min=1)
        stats = originals[name]
        changes[name] = _change(stats, mean, var)
        stats.running_mean.copy_(mean)
        stats.running_var.copy_(var)
    if unseen:
        warnings.warn(
            'these norms saw no input that counts and keep their statistics: '
            + ', '.join(unseen),
            stacklevel=3,
        )
    return changes


def _change(stats: nn.Module, mean: Tensor, var: Tensor) -> StatisticsChange:
    std = (var + stats.eps).sqrt()
    old_std = (stats.running_var + stats.eps).sqrt()
    distance = (mean - stats.running_mean).abs() / std
    log_factor = (std / old_std).log().abs()
    return StatisticsChange(
        distance.mean().item(), log_factor.mean().exp().item()
    )


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Restore the random numbers of Python, numpy and torch at the end."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
