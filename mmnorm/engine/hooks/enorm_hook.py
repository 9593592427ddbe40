# Copyright (c) mmnorm contributors. All rights reserved.
"""Equi-normalization after each step of the optimizer."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from mmnorm.precise.exact_statistics import compute_losses, keep_random_state
from mmnorm.registry import HOOKS

from .homogeneous_pairs import Pair, find_pairs, num_outputs
from .scale_pair import Scaled, balance, scale

# How the state of an optimizer scales with a gradient: to which power.
POWERS = {
    'momentum_buffer': 1,
    'exp_avg': 1,
    'exp_avg_sq': 2,
    'max_exp_avg_sq': 2,
}


@HOOKS.register_module()
class ENormHook(Hook):
    r"""A hook that balances the weights of neighboring layers in training.

    Paper: `Equi-normalization of Neural Networks
    <https://arxiv.org/abs/1902.10416>`_.

    After each step of the optimizer, for layers k and k + 1 with nothing but
    ReLU, pooling and the like in between,

    .. math::
        D_i = \sqrt{\frac{\|W_{k+1}[:, i]\|}{c \, \|W_k[i]\|}}, \qquad
        W_k[i] \leftarrow D_i W_k[i], \qquad
        W_{k+1}[:, i] \leftarrow W_{k+1}[:, i] / D_i

    The function of the network stays the same, and the norms of the weights
    shrink. The momentum of the optimizer is divided where the weight is
    multiplied, because gradients are.

    Before the first step, the hook finds the pairs of layers in the autograd
    graph of the losses of one batch. It keeps the pairs that leave all losses
    as they are when their channels are scaled by powers of two, which changes
    no digit, and it logs them. Layers with a norm in between are no pair,
    such as those of the blocks of a ResNet; heads without a norm have pairs.

    Differences from the authors' code:

    - The bias of layer k is multiplied by D, too. The authors leave all
      biases, which changes the function of layers that have one.
    - Layers with a norm in between are left alone. The authors scale them as
      if the norm was not there.
    - Each pair is scaled by the norms that the pair before it has left. The
      authors take the norms of the filters from before that.
    - Several layers that read the same channels, such as the two outputs of
      an RPN, count as one layer.
    - Adam and AdamW are supported beside SGD.

    Args:
        c: How many times larger the norms of the next layer become. The
            authors use 1 to 1.2.
        last_layers: Whether the last layers of the network are scaled, too.
            The authors leave the last layer alone.

    Raises:
        ValueError: If ``c`` is not positive, if the model has no pair, or if
            the optimizer is not supported.

    Example::

        custom_hooks = [dict(type='mmnorm.ENormHook', last_layers=True)]
    """

    def __init__(self, c: float = 1.0, last_layers: bool = False) -> None:
        if not 0 < c < float('inf'):
            raise ValueError(
                f'ENormHook.c={c!r}: set it to a positive number, such as 1.1'
            )
        self.c = c
        self.last_layers = last_layers
        self.pairs: list[Pair] = []
        self.handle = None

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
    ) -> None:
        if self.handle is not None:
            return
        # A dict of wrappers has none.
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(
                'ENormHook needs one optimizer, but the optim_wrapper is a '
                f'{type(runner.optim_wrapper).__name__}: remove the hook'
            )
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        self.pairs = self._find(model, data_batch)
        names = '; '.join(map(str, self.pairs))
        runner.logger.info(
            f'ENormHook balances {len(self.pairs)} pairs: {names}'
        )

        def after_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for pair in self.pairs:
                scale_state(optimizer, balance(model, pair, self.c))

        self.handle = optimizer.register_step_post_hook(after_step)

    def after_train(self, runner: Runner) -> None:
        if self.handle is not None:
            self.handle.remove()
            self.handle = None

    def _find(self, model: nn.Module, batch: object) -> list[Pair]:
        with in_evaluation(model):
            values = losses(model, batch)
            found = find_pairs(model, values)
            if not self.last_layers:
                found = [pair for pair in found if not pair.is_last]
            # The losses of a process without boxes, for example, show less.
            # Some losses wait for all processes, so the number of runs has
            # to be the same.
            found = in_all_processes(found)
            kept = [p for p in found if keeps(model, batch, p, values)]
        pairs = in_all_processes(kept)
        if not pairs:
            advice = '' if self.last_layers else 'set last_layers=True, or '
            raise ValueError(
                'ENormHook finds no two layers with only ReLU or pooling in '
                f'between that the model trains: {advice}remove the hook'
            )
        return pairs


def in_all_processes(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs that every process has found."""
    common = set.intersection(*map(set, all_gather_object(pairs)))
    return [pair for pair in pairs if pair in common]


def losses(model: nn.Module, batch: object) -> list[Tensor]:
    """Return the losses of a batch, which stays as it is."""
    with keep_random_state():
        result = compute_losses(model, copy.deepcopy(batch))
    return [
        leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)
    ]


@torch.no_grad()
def keeps(
    model: nn.Module, batch: object, pair: Pair, before: list[Tensor]
) -> bool:
    """Return whether the losses stay when the channels are scaled.

    Powers of two change the exponents of numbers and none of their digits.
    """
    weight = model.get_submodule(pair.first).weight
    channels = num_outputs(model.get_submodule(pair.first))
    factors = weight.new_tensor([0.25, 2.0, 0.5, 4.0, 1.0])
    factors = factors.repeat(channels // 5 + 1)[:channels]
    scale(model, pair, factors)
    after = losses(model, batch)
    scale(model, pair, 1 / factors)
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
        for a, b in zip(before, after, strict=True)
    )


def scale_state(optimizer: torch.optim.Optimizer, scaled: Scaled) -> None:
    """Divide what an optimizer keeps where a parameter was multiplied.

    Args:
        optimizer: The optimizer.
        scaled: Parameters with the factors that multiplied them.

    Raises:
        ValueError: If the optimizer keeps a tensor of another kind.
    """
    for parameter, factors in scaled:
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue  # the number of steps, for example
            if key not in POWERS:
                raise ValueError(
                    f'ENormHook cannot scale {key!r} of the optimizer '
                    f'{type(optimizer).__name__}: use SGD, Adam or AdamW'
                )
            value.div_(factors ** POWERS[key])


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Let a block run a model without changing its statistics."""
    training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
