# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch normalization over all processes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnorm.distributed.all_reduce import is_alone
from mmnorm.functional import (
    batch_coefficients,
    native_ops,
    normalize,
    torch_ops,
)
from mmnorm.functional.dispatch import fused_kernels, ops_for
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_count, check_momentum
from .batch_statistics import batch_statistics
from .fused_batch import fused_batch_part
from .inputs import check_input
from .recomputation import is_recorded


@NORM_LAYERS.register_module()
class SyncBN(_BatchNorm):
    r"""Batch normalization with the statistics of all processes.

    Paper: `Batch Normalization <https://arxiv.org/abs/1502.03167>`_.

    .. math::
        y = \frac{x - M_c}{\sqrt{V_c + \epsilon}} \gamma_c + \beta_c

    In training :math:`M, V` are the mean and the biased variance of the
    channel over the images and pixels of all processes. In evaluation they
    are the running statistics, which hold the unbiased variance. Meaning and
    state dict are those of :class:`torch.nn.SyncBatchNorm`. This layer also
    runs on CPU, in a single process and without a process group, and never
    waits for the GPU. It normalizes a channel that has at most one value
    with the running statistics, where torch raises an error.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Example::

        >>> import torch
        >>> norm = SyncBN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        group_size: int | None = None,
    ) -> None:
        check_common(num_features, eps)
        check_momentum(momentum)
        check_count('group_size', group_size, 'all processes')
        super().__init__(num_features, eps, momentum)
        self.group_size = group_size

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        batch = batch_statistics(
            self, mean, var, num_pixels, 'unbiased', self.group_size
        )
        return batch_coefficients(
            mean, *batch, self.weight, self.bias, self.eps
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        if not self.training:
            # Evaluation needs no moments, and torch's operator is the
            # fastest.
            y = F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=self.eps,
            )
            return y if activation is None else activation(y)
        if self._is_plain(x):
            y = self._plain_forward(x)
            return y if activation is None else activation(y)
        kernels = fused_kernels(x)
        batch = kernels and fused_batch_part(
            self, x, 'unbiased', self.group_size
        )
        norm = 0, self.weight, self.bias, None, None, 0.0
        if batch and kernels.supports(x, norm):
            return kernels.fused_norm(x, norm, batch, activation)
        return normalize(x, self.coefficients, activation)

    def _is_plain(self, x: Tensor) -> bool:
        # On CPU, torch has one operator for the layer of a single process.
        # In channels_last the operator adds up all pixels of a channel one
        # by one in float32, so it serves small tensors only.
        num_values = x.numel() // x.shape[1]
        return (
            torch_ops.supports_native(x)
            and ops_for(x) is torch_ops
            # The operator rounds its moments to the type of the weights.
            and self.weight.dtype == torch_ops.wide(x.dtype)
            and (x.is_contiguous() or num_values <= native_ops.PIXELS)
            and num_values > 1
            and self.momentum is not None
            and is_alone(self.group_size)
            and not is_recorded()
        )

    def _plain_forward(self, x: Tensor) -> Tensor:
        # The batch moves zeros by a momentum of 1, so that moments which are
        # not finite do not reach the running statistics.
        mean = torch.zeros_like(self.running_mean)
        var = torch.zeros_like(self.running_var)
        y = F.batch_norm(
            x, mean, var, self.weight, self.bias, True, 1.0, self.eps
        )
        if math.isfinite(var.max().item()):
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
            self.num_batches_tracked += 1
        return y
