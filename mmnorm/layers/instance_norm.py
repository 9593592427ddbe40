# Copyright (c) mmnorm contributors. All rights reserved.
"""Instance normalization."""

from mmnorm.registry import NORM_LAYERS

from .arguments import check_common
from .group_norm import GN


@NORM_LAYERS.register_module()
class IN(GN):
    r"""Instance normalization: statistics of one channel of one image.

    Paper: `Instance Normalization <https://arxiv.org/abs/1607.08022>`_.

    .. math::
        y = \frac{x - \mu_{nc}}{\sqrt{\sigma^2_{nc} + \epsilon}} w_c + b_c

    This layer is :class:`GN` with one channel per group. Three things differ
    from :class:`torch.nn.InstanceNorm2d`. Each channel has a weight and a
    bias by default. A map of one pixel becomes the bias, where torch raises
    an error in training. The layer keeps no running statistics.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        affine: Whether each channel has a weight and a bias.

    Shape:
        - Input: :math:`(N, C, *)`.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> import torch
        >>> norm = IN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'in'

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        check_common(num_features, eps)
        super().__init__(num_features, num_features, eps, affine)
