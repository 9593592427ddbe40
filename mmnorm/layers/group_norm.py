# Copyright (c) mmnorm contributors. All rights reserved.
"""Group normalization."""

import torch
from torch import Tensor, nn

from mmnorm.functional import group_coefficients, normalize, torch_ops
from mmnorm.functional.dispatch import fused_kernels, ops_for
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, resolve_num_groups
from .inputs import check_input


@NORM_LAYERS.register_module()
class GN(nn.GroupNorm):
    r"""Group normalization: statistics of one image over groups of channels.

    Paper: `Group Normalization <https://arxiv.org/abs/1803.08494>`_.

    .. math::
        y = \frac{x - M_{ng}}{\sqrt{V_{ng} + \epsilon}} w_c + b_c

    The mean and the biased variance are taken over the channels of a group
    and all pixels of one image, in training and in evaluation alike. The
    results, parameters and state dict are those of
    :class:`torch.nn.GroupNorm`. Three things differ. The number of channels
    is the first argument, as mmcv calls its norms. ``num_groups`` has a
    default and can be ``'auto'``. A half precision input is normalized in
    float32 and returned in half precision, also under autocast, where torch
    would return float32.

    Args:
        num_features: Number of channels C.
        num_groups: Number of groups, or ``'auto'``: the largest divisor of
            ``num_features`` not above 32.
        eps: Added to the variance, inside the root.
        affine: Whether each channel has a weight and a bias.

    Shape:
        - Input: :math:`(N, C, *)`.
        - Output: the same.

    Raises:
        ValueError: If ``num_groups`` does not divide ``num_features``.

    Example::

        >>> import torch
        >>> norm = GN(64, num_groups=32)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'gn'

    def __init__(
        self,
        num_features: int,
        num_groups: int | str = 32,
        eps: float = 1e-5,
        affine: bool = True,
    ) -> None:
        check_common(num_features, eps, affine=affine)
        num_groups = resolve_num_groups(num_groups, num_features)
        super().__init__(num_groups, num_features, eps, affine)

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        return group_coefficients(
            mean, var, self.num_groups, self.weight, self.bias, self.eps
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_channels, self.weight)
        if (
            x.is_contiguous()
            and torch_ops.supports_native(x)
            and self._statistics_dtype(x) == torch_ops.wide(x.dtype)
            and ops_for(x) is torch_ops
        ):
            # torch has one operator for the whole layer. In channels_last
            # the operator computes variances as differences of large
            # numbers.
            of = self.num_groups, self.weight, self.bias, self.eps
            y = torch.group_norm(x, *of)
            return y if activation is None else activation(y)
        norm = self.num_groups, None, None, self.weight, self.bias, self.eps
        kernels = fused_kernels(x)
        if kernels and kernels.supports(x, norm):
            return kernels.fused_norm(x, norm, None, activation)
        return normalize(x, self.coefficients, activation)

    def _statistics_dtype(self, x: Tensor) -> torch.dtype:
        # torch keeps statistics in the dtype of the parameters.
        return x.dtype if self.weight is None else self.weight.dtype

    def extra_repr(self) -> str:
        return (
            f'{self.num_channels}, num_groups={self.num_groups}, '
            f'eps={self.eps}, affine={self.affine}'
        )
