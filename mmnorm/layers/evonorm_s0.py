# Copyright (c) mmnorm contributors. All rights reserved.
"""EvoNorm-S0, an evolved norm of one image."""

import torch
from torch import Tensor, nn

from mmnorm.functional.evonorm import evonorm_s0
from mmnorm.functional.torch_ops import differentiable_moments
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, resolve_num_groups
from .inputs import check_input


@NORM_LAYERS.register_module()
class EvoNormS0(nn.GroupNorm):
    r"""EvoNorm-S0: a norm of one image and an activation in one formula.

    Paper: `Evolving Normalization-Activation Layers
    <https://arxiv.org/abs/2004.02967>`_.

    .. math::
        y = \frac{x\, \text{sigmoid}(v_c x)}{\sqrt{V_{ng} + \epsilon}}
        \gamma_c + \beta_c

    The biased variance is taken over the channels of a group and all pixels
    of one image, in training and in evaluation alike. The layer is an
    activation, too: the config sets ``act_cfg=None`` for its modules.
    Checkpoints of timm load.

    Args:
        num_features: Number of channels C.
        num_groups: Number of groups, or ``'auto'``: the largest divisor of
            ``num_features`` not above 32.
        eps: Added to the variance, inside the root.

    Shape:
        - Input: :math:`(N, C, *)`.
        - Output: the same.

    Raises:
        ValueError: If ``num_groups`` does not divide ``num_features``, or
            the input has fewer than two dimensions.

    Example::

        >>> norm = EvoNormS0(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'evonorm'

    def __init__(
        self,
        num_features: int,
        num_groups: int | str = 32,
        eps: float = 1e-5,
    ) -> None:
        check_common(num_features, eps)
        num_groups = resolve_num_groups(num_groups, num_features)
        super().__init__(num_groups, num_features, eps)
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_channels, self.weight)
        moments = differentiable_moments(x)
        parameters = self.v, self.weight, self.bias
        return evonorm_s0(x, moments, self.num_groups, *parameters, self.eps)

    def extra_repr(self) -> str:
        return (
            f'{self.num_channels}, num_groups={self.num_groups}, '
            f'eps={self.eps}'
        )
