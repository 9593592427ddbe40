# Copyright (c) mmnorm contributors. All rights reserved.
"""Switchable normalization."""

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm.functional import normalize, switchable_coefficients
from mmnorm.functional.dispatch import fused_kernels
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_count, check_momentum
from .batch_statistics import batch_statistics
from .fused_batch import fused_batch_part
from .inputs import check_input


@NORM_LAYERS.register_module()
class SN(_InstanceNorm):
    r"""Switchable normalization: a learned mix of three sets of statistics.

    Paper: `Differentiable Learning-to-Normalize via Switchable
    Normalization <https://arxiv.org/abs/1806.10779>`_.

    .. math::
        y = \frac{x - \sum_k w_k M_k}
        {\sqrt{\sum_k w'_k V_k + \epsilon}} \gamma_c + \beta_c,
        \qquad k \in (\text{in}, \text{ln}, \text{bn})

    Each of :math:`w` and :math:`w'` is the softmax of three learned numbers
    per layer. Batch statistics are those of all processes in training, and
    the running statistics in evaluation. Instance and layer statistics are
    computed in the same way in both modes.

    Differences from the authors' code:

    - Every variance is biased. A map of one pixel has a variance of 0, where
      the authors' code gives NaN.
    - The running variance starts at 1, where the authors' starts at 0.
    - ``momentum`` is the share of the new batch, as in torch. The authors'
      is the share that is kept: 0.9 there is 0.1 here, 0.997 is 0.003.
    - The gradients of the synchronized form are those of the formula. The
      authors' synchronized form computes wrong gradients.

    Checkpoints of both forms of the authors load, and checkpoints of plain
    batch normalization load, too.

    Args:
        num_features: Number of channels C.
        eps: Added to the mixed variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        use_bn: Whether batch statistics are in the mix. Without them the
            layer keeps no running statistics: the choice for one image per
            GPU without synchronization.
        sync: Whether batch statistics are those of all processes.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Example::

        >>> norm = SN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        use_bn: bool = True,
        sync: bool = True,
        group_size: int | None = None,
    ) -> None:
        check_common(num_features, eps, use_bn=use_bn, sync=sync)
        check_momentum(momentum)
        check_count('group_size', group_size, 'all processes')
        super().__init__(
            num_features,
            eps,
            momentum,
            affine=True,
            track_running_stats=use_bn,
        )
        self.use_bn = use_bn
        self.sync = sync
        self.group_size = group_size
        terms = 3 if use_bn else 2
        self.mean_weight = nn.Parameter(torch.ones(terms))
        self.var_weight = nn.Parameter(torch.ones(terms))

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        return switchable_coefficients(
            mean,
            var,
            self._batch(mean, var, num_pixels),
            self.mean_weight,
            self.var_weight,
            self.weight,
            self.bias,
            self.eps,
        )

    def _batch(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor] | None:
        if not self.use_bn:
            return None
        group_size = self.group_size if self.sync else 1
        return batch_statistics(
            self, mean, var, num_pixels, 'biased', group_size
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        kernels = fused_kernels(x, 'launch_fused_switchable')
        if kernels:
            batch = None
            if self.use_bn:
                group_size = self.group_size if self.sync else 1
                batch = fused_batch_part(self, x, 'biased', group_size)
            logits = self.mean_weight, self.var_weight
            parameters = *logits, self.weight, self.bias
            if (batch or not self.use_bn) and kernels.supports_switchable(
                x, parameters
            ):
                return kernels.switchable_norm(
                    x, parameters, self.eps, batch, activation
                )
        return normalize(x, self.coefficients, activation)

    def extra_repr(self) -> str:
        return (
            f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, '
            f'use_bn={self.use_bn}, sync={self.sync}'
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        running = ('running_mean', 'running_var', 'num_batches_tracked')
        if not self.use_bn:
            for name in running:
                state_dict.pop(prefix + name, None)
        # The authors' parameters are (1, C, 1, 1), their buffers (1, C, 1).
        for name in ('weight', 'bias', *running[:2]):
            if prefix + name in state_dict:
                state_dict[prefix + name] = state_dict[prefix + name].view(-1)
        super()._load_from_state_dict(state_dict, prefix, *args)
