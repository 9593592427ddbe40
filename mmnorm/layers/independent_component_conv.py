# Copyright (c) mmnorm contributors. All rights reserved.
"""Convolution with an independent-component layer before it."""

from torch import Tensor, nn

from mmnorm.registry import MODELS

from .arguments import check_share
from .independent_component import IC


@MODELS.register_module()
class ConvIC(nn.Conv2d):
    r"""Convolution of an input that :class:`IC` has normalized.

    Paper: `Rethinking the Usage of Batch Normalization and Dropout in the
    Training of Deep Neural Networks <https://arxiv.org/abs/1905.05928>`_.

    .. math::
        y = W * \text{IC}(x) + b

    ``conv_cfg=dict(type='mmnorm.ConvIC')`` with ``norm_cfg=None`` puts the
    layers of a neck or a head into the order of the paper, which no other
    setting of a config of mmdet or mmseg can do. The ResNets of mmdet and
    mmseg need a ``norm_cfg``: there the layer adds to the norms that follow
    the convolutions, and does not replace them.

    Weight and bias are those of :class:`torch.nn.Conv2d`; the child ``ic``
    has the other parameters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Pixels of the kernel.
        stride: Pixels between two positions of the kernel.
        padding: Pixels added on each side, behind the norm.
        dilation: Pixels between two weights of the kernel.
        groups: Number of groups of channels, each convolved by itself.
        bias: Whether a bias is added.
        p: Share of the values that dropout sets to 0.

    Shape:
        - Input: :math:`(N, C_{in}, H, W)`.
        - Output: :math:`(N, C_{out}, H', W')` as of a convolution.

    Raises:
        ValueError: If ``p`` has a wrong value.

    Example::

        >>> import torch
        >>> conv = ConvIC(3, 8, 3, padding=1)
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
        p: float = 0.05,
    ) -> None:
        check_share('p', p, 'conv_cfg')
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
        self.ic = IC(in_channels, p=p)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.ic(x))
