# Copyright (c) mmnorm contributors. All rights reserved.
"""Meta normalization."""

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm.functional import normalize
from mmnorm.functional.meta import (
    channel_factors,
    hard_gates,
    meta_coefficients,
)
from mmnorm.registry import NORM_LAYERS

from .arguments import (
    check_common,
    check_count,
    check_momentum,
    resolve_num_groups,
)
from .batch_statistics import batch_statistics
from .inputs import check_input


@NORM_LAYERS.register_module()
class MetaNorm(_InstanceNorm):
    r"""Meta normalization: learned gates choose among IN, GN, LN and BN.

    Paper: `Differentiable Dynamic Normalization for Learning Deep
    Representation <https://proceedings.mlr.press/v97/luo19a.html>`_.

    .. math::
        y = \frac{x - \mu_{nc}}{\sqrt{\sigma^2_{nc} + \epsilon}} \gamma_c
        + \beta_c, \qquad \mu = U M V, \quad \sigma^2 = U T V - \mu^2

    :math:`M, T` hold the mean and the mean square of each plane. The matrix
    :math:`U` averages over channels, :math:`V` over images. The channels are
    a grid of size :math:`2 \times 2 \times \dots`, with the odd rest of C as
    the last dimension, and one gate per dimension pools it or leaves it. One
    more gate pools the images of all processes, for which evaluation takes
    the running statistics:

    ====================  ===================  ==========
    norm                  gates of channels    batch gate
    ====================  ===================  ==========
    :class:`IN`           all 0                0
    :class:`GN`           the last ones are 1  0
    :class:`LN`           all 1                0
    :class:`SyncBN`       all 0                1
    ====================  ===================  ==========

    Batch gate and gates of channels may be 1 together, which gives groups of
    channels the statistics of the batch. The arguments choose the start. A
    gate is 1 where its logit in ``channel_logits`` or ``batch_logit`` is
    positive; the gradient of a logit is that of a sigmoid in place of this
    step. A learned batch gate costs the statistics of the batch also while it
    is 0.

    The abstract of the paper names the matrices. The factors of :math:`U`,
    the gates and their gradient are those of this package, because no code
    of the authors is known to it.

    Checkpoints of plain batch normalization load.

    Args:
        num_features: Number of channels C.
        num_groups: Number of groups of channels at the start, or ``'auto'``:
            the largest divisor of ``num_features`` not above 32; None for
            each channel by itself.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        use_bn: Whether the images of the batch share statistics at the
            start.
        learn_gates: Whether the gates are parameters, not buffers. Without
            this and ``use_bn``, the layer keeps no running statistics.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value: ``num_groups`` does not
            divide ``num_features``, for example.

    Example::

        >>> norm = MetaNorm(64, num_groups=None, use_bn=True)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        num_groups: int | str | None = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        use_bn: bool = False,
        learn_gates: bool = True,
        group_size: int | None = None,
    ) -> None:
        check_common(num_features, eps, use_bn=use_bn, learn_gates=learn_gates)
        check_momentum(momentum)
        check_count('group_size', group_size, 'all processes')
        if num_groups is None:
            num_groups = num_features
        num_groups = resolve_num_groups(num_groups, num_features)
        super().__init__(
            num_features,
            eps,
            momentum,
            affine=True,
            track_running_stats=use_bn or learn_gates,
        )
        self.num_groups = num_groups
        self.use_bn = use_bn
        self.learn_gates = learn_gates
        self.group_size = group_size
        outer = channel_factors(num_groups)
        inner = channel_factors(num_features // num_groups)
        if num_features == 1:  # DDP refuses a parameter without a part
            inner = (1,)
        self.channel_sizes = (*outer, *inner)
        logits = [-1.0] * len(outer) + [1.0] * len(inner)
        channel_logits = torch.tensor(logits)
        batch_logit = torch.tensor([1.0 if use_bn else -1.0])
        if learn_gates:
            self.channel_logits = nn.Parameter(channel_logits)
            self.batch_logit = nn.Parameter(batch_logit)
        else:
            fixed = batch_logit if use_bn else None
            self.register_buffer('channel_logits', channel_logits)
            self.register_buffer('batch_logit', fixed)

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        batch = batch_gate = None
        if self.batch_logit is not None:
            batch = batch_statistics(
                self, mean, var, num_pixels, 'unbiased', self.group_size
            )
            batch_gate = hard_gates(self.batch_logit.to(mean.dtype))
        channel_gates = hard_gates(self.channel_logits.to(mean.dtype))
        return meta_coefficients(
            mean,
            var,
            batch,
            batch_gate,
            channel_gates.unbind(),
            self.channel_sizes,
            self.weight,
            self.bias,
            self.eps,
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        return normalize(x, self.coefficients, activation)

    def extra_repr(self) -> str:
        return (
            f'{self.num_features}, num_groups={self.num_groups}, '
            f'eps={self.eps}, momentum={self.momentum}, '
            f'use_bn={self.use_bn}, learn_gates={self.learn_gates}'
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        if self.batch_logit is None:
            for name in ('running_mean', 'running_var', 'num_batches_tracked'):
                state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)
