# Copyright (c) mmnorm contributors. All rights reserved.
"""Layer normalization."""

from mmnorm.registry import NORM_LAYERS

from .group_norm import GN


@NORM_LAYERS.register_module()
class LN(GN):
    r"""Layer normalization: statistics of all channels of one image.

    Paper: `Layer Normalization <https://arxiv.org/abs/1607.06450>`_.

    .. math::
        y = \frac{x - M_n}{\sqrt{V_n + \epsilon}} w_c + b_c

    The mean and the biased variance are taken over all channels and pixels
    of one image. This layer is :class:`GN` with one group, the layer
    normalization of convolutional networks. :class:`torch.nn.LayerNorm`
    differs: its statistics are those of the last dimensions, and its weights
    have the shape of these dimensions.

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
        >>> norm = LN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'ln'

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__(num_features, 1, eps, affine)
