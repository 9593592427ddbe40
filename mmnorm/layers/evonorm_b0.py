# Copyright (c) mmnorm contributors. All rights reserved.
"""EvoNorm-B0, an evolved norm of the batch."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm.functional.evonorm import evonorm_b0
from mmnorm.functional.torch_ops import differentiable_moments
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_count, check_momentum
from .batch_statistics import batch_statistics
from .inputs import check_input


@NORM_LAYERS.register_module()
class EvoNormB0(_InstanceNorm):
    r"""EvoNorm-B0: a norm of the batch and an activation in one formula.

    Paper: `Evolving Normalization-Activation Layers
    <https://arxiv.org/abs/2004.02967>`_.

    .. math::
        y = \frac{x}{\max\left(\sqrt{V_c + \epsilon},\;
        v_c x + \sqrt{\sigma^2_{nc} + \epsilon}\right)} \gamma_c + \beta_c

    In training :math:`V` is the biased variance of the channel over the
    images and pixels of all processes. In evaluation it is the running
    variance, which holds the unbiased one. :math:`\sigma^2` is the biased
    variance of the channel in one image, in both modes. The layer is an
    activation, too: the config sets ``act_cfg=None`` for its modules.

    Checkpoints of timm load, where eps is 1e-3. The running mean of this
    layer, which timm does not keep, enters no output.

    Args:
        num_features: Number of channels C.
        eps: Added to both variances, inside the roots.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value, or the input has fewer
            than two dimensions.

    Example::

        >>> norm = EvoNormB0(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'evonorm'

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
        super().__init__(
            num_features, eps, momentum, affine=True, track_running_stats=True
        )
        self.group_size = group_size
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features, self.weight)
        mean, var = differentiable_moments(x)
        num_pixels = math.prod(x.shape[2:])
        _, batch_var = batch_statistics(
            self, mean, var, num_pixels, 'unbiased', self.group_size
        )
        parameters = self.v, self.weight, self.bias
        return evonorm_b0(x, var, batch_var, *parameters, self.eps)

    def extra_repr(self) -> str:
        return f'{self.num_features}, eps={self.eps}, momentum={self.momentum}'

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        if prefix + 'running_var' in state_dict:
            mean = torch.zeros_like(self.running_mean)
            state_dict.setdefault(prefix + 'running_mean', mean)
        super()._load_from_state_dict(state_dict, prefix, *args)
