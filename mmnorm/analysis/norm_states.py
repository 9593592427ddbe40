# Copyright (c) mmnorm contributors. All rights reserved.
"""The state of every norm of a model."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from mmnorm.layers import BCN, MABN, MetaNorm


class NormState(NamedTuple):
    """The state of a norm, in the state that its model is in.

    Attributes:
        name: The name of the layer in the model.
        type: Its class; with the package, if that is not mmnorm.
        num_channels: Number of channels.
        num_groups: Number of groups; None if the layer has none.
        statistics: ``'image'``, ``'batch'``, ``'last batches'``,
            ``'running'``, or two of them with a plus sign, as the layer
            normalizes now.
        moves: Whether running statistics move.
        synchronized: Whether statistics are those of all processes.
        trained: Whether its weight or its bias is trained; None if the layer
            has no parameters.
        weight_decay: Weight decay of its parameters; None if they are in no
            optimizer.
    """

    name: str
    type: str
    num_channels: int
    num_groups: int | None
    statistics: str
    moves: bool
    synchronized: bool
    trained: bool | None
    weight_decay: float | None


def norm_states(
    model: nn.Module, optimizer: Optimizer | None = None
) -> list[NormState]:
    """Return the state of every norm of a model, in the order of modules.

    The model may be in training, in evaluation, or partly in each of both, as
    ``norm_eval=True`` of mmdet leaves it.

    Args:
        model: The model.
        optimizer: The optimizer that trains the model, for the weight decay.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32))
        >>> (state,) = norm_states(model)
        >>> state.type, state.statistics, state.moves
        ('torch BatchNorm2d', 'batch', True)
        >>> norm_states(model.eval())[0].statistics
        'running'
    """
    decays = {
        parameter: group.get('weight_decay', 0.0)
        for group in (optimizer.param_groups if optimizer else ())
        for parameter in group['params']
    }
    return [_state(name, norm, decays) for name, norm in norms_of(model)]


def norms_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each norm with its name; the child of a BCN is no norm itself."""
    inner = {
        module.bn for module in model.modules() if isinstance(module, BCN)
    }
    for name, module in model.named_modules():
        is_norm = isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm))
        if is_norm and module not in inner:
            yield name, module


def _state(name: str, norm: nn.Module, decays: dict) -> NormState:
    cls = type(norm)
    package = cls.__module__.partition('.')[0]
    parameters = list(norm.parameters())
    decay = [decays[p] for p in parameters if p in decays]
    return NormState(
        name,
        cls.__name__ if package == 'mmnorm' else f'{package} {cls.__name__}',
        num_channels(norm),
        getattr(norm, 'num_groups', None),
        statistics_of(norm),
        moves(norm),
        _synchronized(norm),
        any(p.requires_grad for p in parameters) if parameters else None,
        max(decay) if decay else None,
    )


def num_channels(norm: nn.Module) -> int:
    """Return the number of channels of a norm."""
    if isinstance(norm, nn.LayerNorm):
        return norm.normalized_shape[-1]
    return getattr(norm, 'num_features', None) or norm.num_channels


def in_words(value: object) -> str:
    """Return a value of a state as a table shows it."""
    if value is None:
        return '-'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return str(value)


def running(norm: nn.Module) -> nn.Module | None:
    """Return the module with the running statistics of a norm, or None."""
    stats = norm.bn if isinstance(norm, BCN) else norm
    return stats if getattr(stats, 'running_var', None) is not None else None


def moves(norm: nn.Module) -> bool:
    """Return whether a forward moves the running statistics of a norm."""
    stats = running(norm)
    return stats is not None and stats.training and stats.momentum != 0


def statistics_of(norm: nn.Module) -> str:
    """Return whose statistics a norm normalizes with, now."""
    stats = running(norm)
    if stats is None:
        # Without running statistics, a batch norm of torch uses the batch's.
        is_batch = isinstance(norm, nn.modules.batchnorm._BatchNorm)
        return 'batch' if is_batch else 'image'
    of_batch = 'batch' if stats.training else 'running'
    if isinstance(norm, MABN) and stats.training:
        return 'last batches'
    if isinstance(norm, MetaNorm):
        gate = norm.batch_logit
        is_open = norm.use_bn if gate.is_meta else bool(gate > 0)
        return of_batch if is_open else 'image'
    if isinstance(norm, BCN):
        if norm.estimate:
            of_batch = 'running'
        return f'{of_batch} + image'
    # Instance norms of torch use running statistics in evaluation only.
    if type(norm).__module__.startswith('torch.nn.modules.instancenorm'):
        return 'image' if stats.training else 'running'
    mixes = hasattr(norm, 'mean_weight') or hasattr(norm, 'v')
    return f'{of_batch} + image' if mixes else of_batch


def _synchronized(norm: nn.Module) -> bool:
    stats = running(norm)
    if stats is None:
        return False
    if getattr(norm, 'sync', None) is not None:
        return bool(norm.sync)
    if isinstance(norm, nn.SyncBatchNorm):
        return True
    # A layer of mmnorm synchronizes within its group of processes.
    return getattr(norm, 'group_size', 1) != 1
