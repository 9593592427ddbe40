# Copyright (c) mmnorm contributors. All rights reserved.
"""Convolution with standardized weights."""

import torch
from torch import Tensor, nn

from mmnorm.functional import normalize
from mmnorm.registry import MODELS

from .arguments import check_eps


@MODELS.register_module()
class ConvWS(nn.Conv2d):
    r"""Convolution whose filters have mean 0 and standard deviation 1.

    Paper: `Weight Standardization <https://arxiv.org/abs/1903.10520>`_.

    .. math::
        \hat W_o = \frac{W_o - \overline{W_o}}{s(W_o) + \epsilon}

    with :math:`s` the unbiased standard deviation over the fan-in of an
    output channel. Results and state dict are those of ``ConvWS`` of mmcv.
    This layer reads the weights once forward and once backward, where mmcv
    reads them once per operator. A fan-in of 1 gives 0, where mmcv gives
    NaN. A norm has to follow the layer.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Pixels of the kernel.
        stride: Pixels between two positions of the kernel.
        padding: Pixels added on each side.
        dilation: Pixels between two weights of the kernel.
        groups: Number of groups of channels, each convolved by itself.
        bias: Whether a bias is added.
        eps: Added to the standard deviation, outside the root.

    Shape:
        - Input: :math:`(N, C_{in}, H, W)`.
        - Output: :math:`(N, C_{out}, H', W')` as of a convolution.

    Example::

        >>> conv = ConvWS(3, 8, 3, padding=1)
        >>> conv(torch.rand(1, 3, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        eps: float = 1e-5,
    ) -> None:
        check_eps(eps, 'conv_cfg')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
        )
        self.eps = eps

    def coefficients(
        self, mean: Tensor, var: Tensor, fan_in: int
    ) -> tuple[Tensor, Tensor]:
        unbiased = var * (fan_in / max(fan_in - 1, 1))
        # The root has no gradient at 0.
        std = unbiased.clamp(min=torch.finfo(var.dtype).tiny).sqrt()
        return 1 / (std + self.eps), torch.zeros_like(mean)

    def forward(self, x: Tensor) -> Tensor:
        # Each output channel is a plane of one image: (1, C_out, fan-in).
        planes = self.weight.flatten(1)[None]
        weight = normalize(planes, self.coefficients).view_as(self.weight)
        return self._conv_forward(x, weight, self.bias)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, eps={self.eps}'
