# Copyright (c) mmnorm contributors. All rights reserved.
"""Convolution with centered weights."""

from torch import Tensor, nn

from mmnorm.registry import MODELS


@MODELS.register_module()
class ConvWC(nn.Conv2d):
    r"""Convolution whose filters have mean 0.

    Paper: `Towards Stabilizing Batch Statistics in Backward Propagation of
    Batch Normalization <https://arxiv.org/abs/2001.06838>`_.

    .. math::
        \hat W_o = W_o - \overline{W_o}

    The mean is taken over the fan-in of an output channel. The layer belongs
    in front of :class:`MABN`, which subtracts no mean. Arguments, parameters
    and state dict are those of :class:`torch.nn.Conv2d`, and the initial
    weights, too. :class:`ConvWS` also divides by the standard deviation. A
    fan-in of 1 gives 0: a depthwise convolution of one pixel passes nothing.

    Shape:
        - Input: :math:`(N, C_{in}, H, W)`.
        - Output: :math:`(N, C_{out}, H', W')` as of a convolution.

    Example::

        >>> import torch
        >>> conv = ConvWC(3, 8, 3, padding=1)
        >>> conv(torch.rand(1, 3, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, self.weight - mean, self.bias)
