# Copyright (c) mmnorm contributors. All rights reserved.
"""Measure what the norms of a model do to the batches of a training."""

import torch
from torch import Tensor, nn

from mmnorm.functional import sparsestmax
from mmnorm.functional.statistics import moments_of
from mmnorm.layers import SN, SSN
from mmnorm.precise import input_sums

from .norm_states import norms_of, running

RARE = 1e-3
"""A channel that is positive at fewer of its values counts as dead."""
SMALL = 1e-3
"""Channels with a smaller weight have no distance in units of the weight."""
SHARES = ('in', 'ln', 'bn')
"""The norms that a switchable norm mixes, in the order of its logits."""


class NormStats:
    r"""Statistics of the inputs and outputs of each norm, over some batches.

    The hooks of this class run after each norm, and only until
    :meth:`finish`. ``finish`` returns, by the name of the norm:

    - ``dead``: share of channels whose output is positive at fewer than one
      in a thousand values. A ReLU behind them passes nothing, and no gradient
      comes back.
    - ``bn_mean``: mean over channels of
      :math:`|m_c - \beta_c| / |\gamma_c|`, where :math:`m_c` is the mean of
      the output over the batches. It is 0 behind batch normalization.
    - ``bn_std``: mean over channels of :math:`|\log(s_c / |\gamma_c|)|`, with
      the standard deviation :math:`s_c` of the output. It is 0 behind batch
      normalization. Both are the distance from the statistics of batch
      normalization that BCN is made to keep short
      (https://arxiv.org/abs/1911.09738).
    - ``gap_mean``: mean over channels of the distance between the input's
      mean and the running mean, in running standard deviations.
    - ``gap_std``: mean over channels of the absolute logarithm of the input's
      standard deviation over the running one.
    - ``mean_in, mean_ln, mean_bn, var_in, var_ln, var_bn``: shares of a
      switchable norm.

    A norm has the numbers that it can have: without running statistics there
    is no gap. A norm that also computes the activation behind it has no
    distances.

    Args:
        model: A model.

    Example::

        >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        >>> stats = NormStats(model)
        >>> _ = model(torch.randn(4, 3, 9, 9))
        >>> {name: list(found) for name, found in stats.finish().items()}
        {'1': ['dead', 'bn_mean', 'bn_std', 'gap_mean', 'gap_std']}
    """

    def __init__(self, model: nn.Module) -> None:
        self.norms = dict(norms_of(model))
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.positive: dict[str, Tensor] = {}
        self.fused: set[str] = set()
        self.handles = []
        # A validation between two steps must not count.
        self.counts = True
        for name, norm in self.norms.items():
            self.handles.append(norm.register_forward_hook(self._add(name)))

    def _add(self, name: str):
        @torch.no_grad()
        def hook(norm: nn.Module, args: tuple, output: Tensor) -> None:
            is_other = isinstance(norm, nn.LayerNorm)
            if not self.counts or is_other or output.numel() == 0:
                return
            if len(args) > 1 and args[1] is not None:
                self.fused.add(name)
            others = [d for d in range(output.dim()) if d != 1]
            positive = (output > 0).sum(others)
            for sums, value in (
                (self.inputs, input_sums(args[0].detach())),
                (self.outputs, input_sums(output.detach())),
                (self.positive, positive),
            ):
                sums[name] = sums[name] + value if name in sums else value

        return hook

    def finish(self) -> dict[str, dict[str, float]]:
        """Remove the hooks, and return the numbers of each norm that ran."""
        for handle in self.handles:
            handle.remove()
        found = {
            name: self._numbers(name)
            for name in self.norms
            if name in self.outputs
        }
        # One transfer for all norms.
        values = [v for numbers in found.values() for v in numbers.values()]
        flat = iter(torch.stack(values).tolist() if values else [])
        return {
            name: {key: next(flat) for key in numbers}
            for name, numbers in found.items()
        }

    def _numbers(self, name: str) -> dict[str, Tensor]:
        norm = self.norms[name]
        mean, var, count = moments_of(self.outputs[name])
        alive = self.positive[name] / count > RARE
        numbers = {'dead': 1 - alive.double().mean()}
        if name not in self.fused:
            weight, bias = _affine(norm, mean)
            used = weight > SMALL
            numbers['bn_mean'] = _mean((mean - bias).abs() / weight, used)
            ratio = (var.sqrt() / weight).clamp(min=1e-12).log().abs()
            numbers['bn_std'] = _mean(ratio, used)
        stats = running(norm)
        if stats is not None:
            mean, var, _ = moments_of(self.inputs[name])
            expected = stats.running_var.double() + stats.eps
            if stats.running_mean is not None:
                distance = (mean - stats.running_mean).abs() / expected.sqrt()
                numbers['gap_mean'] = distance.mean()
            ratio = (var + stats.eps) / expected
            numbers['gap_std'] = ratio.log().abs().mean() / 2
        if isinstance(norm, SN):
            numbers |= _shares(norm)
        return {key: value.double() for key, value in numbers.items()}


def _affine(norm: nn.Module, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the size of the weight and the bias of each channel."""
    channels = len(mean)
    weight, bias = torch.ones_like(mean), torch.zeros_like(mean)
    if getattr(norm, 'weight', None) is not None:
        repeats = channels // norm.weight.numel()
        weight = norm.weight.detach().double().repeat_interleave(repeats).abs()
        bias = norm.bias.detach().double().repeat_interleave(repeats)
    return weight, bias


def _mean(values: Tensor, used: Tensor) -> Tensor:
    return torch.where(used, values, 0).sum() / used.sum().clamp(min=1)


def _shares(norm: SN) -> dict[str, Tensor]:
    shares = {}
    for kind, logits in (('mean', norm.mean_weight), ('var', norm.var_weight)):
        values = logits.detach().softmax(0)
        if isinstance(norm, SSN):
            values = sparsestmax(logits.detach(), norm.radius)
        for name, value in zip(SHARES, values, strict=False):
            shares[f'{kind}_{name}'] = value
    return shares
