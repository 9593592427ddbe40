# Copyright (c) mmnorm contributors. All rights reserved.
"""Convolution with standardized weights."""

from torch import Tensor, nn

from mmnorm.functional import standardize_weight
from mmnorm.registry import MODELS

from .arguments import check_eps, check_switch


@MODELS.register_module()
class ConvWS(nn.Conv2d):
    r"""Convolution whose filters have mean 0 and standard deviation 1.

    Paper: `Weight Standardization <https://arxiv.org/abs/1903.10520>`_.

    .. math::
        \hat W_o = \frac{W_o - \overline{W_o}}{s(W_o) + \epsilon}

    with :math:`s` the unbiased standard deviation over the fan-in of an
    output channel. The published models use four forms of this formula:

    ============================================  ========================
    form                                          arguments
    ============================================  ========================
    WS authors, BCN authors' DeepLab, mmcv        the defaults
    BCN authors' ImageNet code, mmcv's ConvAWS    ``eps_inside_root=True``
    WS authors' code for TensorFlow               ``unbiased=False``
    timm's StdConv2d, as in Big Transfer          ``unbiased=False,
                                                  eps_inside_root=True,
                                                  eps=1e-6``
    ============================================  ========================

    The forms agree up to 1 % where filters have a standard deviation of 0.05
    and a fan-in above 64. With :math:`s = 0.003`, as after long weight decay,
    the epsilon outside the root gives outputs 1.45 times as large as inside.
    The statistics of a batch undo this factor, because they are those of one
    channel. Running statistics of a checkpoint and statistics of several
    channels do not, so a model takes the form that its checkpoint was trained
    with.

    ConvAWS of mmcv also multiplies by buffers and adds them. It sets them
    such that a checkpoint of plain convolutions keeps its filters. This layer
    has no such buffers.

    The state dict is that of :class:`torch.nn.Conv2d`. This layer reads the
    weights once forward and once backward, where mmcv reads them once per
    operator. A fan-in of 1 gives 0, where mmcv gives NaN. A norm has to
    follow the layer; :class:`ScaledConvWS` needs none.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Pixels of the kernel.
        stride: Pixels between two positions of the kernel.
        padding: Pixels added on each side.
        dilation: Pixels between two weights of the kernel.
        groups: Number of groups of channels, each convolved by itself.
        bias: Whether a bias is added.
        eps: Added to the standard deviation, or to the variance.
        unbiased: Whether the variance is divided by the fan-in minus 1.
        eps_inside_root: Whether ``eps`` is added to the variance, inside the
            root.

    Shape:
        - Input: :math:`(N, C_{in}, H, W)`.
        - Output: :math:`(N, C_{out}, H', W')` as of a convolution.

    Raises:
        ValueError: If ``eps``, ``unbiased`` or ``eps_inside_root`` has a
            wrong value.

    Example::

        >>> import torch
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
        unbiased: bool = True,
        eps_inside_root: bool = False,
    ) -> None:
        check_eps(eps, 'conv_cfg')
        check_switch('unbiased', unbiased, 'conv_cfg')
        check_switch('eps_inside_root', eps_inside_root, 'conv_cfg')
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
        self.unbiased = unbiased
        self.eps_inside_root = eps_inside_root

    def standardized_weight(self) -> Tensor:
        """Return the filters that the convolution uses."""
        form = self.eps, self.unbiased, self.eps_inside_root
        return standardize_weight(self.weight, *form)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.standardized_weight(), self.bias)

    def extra_repr(self) -> str:
        return (
            f'{super().extra_repr()}, eps={self.eps}, '
            f'unbiased={self.unbiased}, '
            f'eps_inside_root={self.eps_inside_root}'
        )
