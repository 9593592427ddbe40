# Copyright (c) mmnorm contributors. All rights reserved.
"""Convolution with scaled standardized weights, for networks without norms."""

import torch
from torch import Tensor, nn

from mmnorm.functional import standardize_weight
from mmnorm.registry import MODELS

from .arguments import check_eps, check_least


@MODELS.register_module()
class ScaledConvWS(nn.Conv2d):
    r"""Convolution whose outputs have the variance of its inputs, or a gain.

    Papers: `Characterizing signal propagation to close the performance gap in
    unnormalized ResNets <https://arxiv.org/abs/2101.08692>`_ and
    `High-Performance Large-Scale Image Recognition Without Normalization
    <https://arxiv.org/abs/2102.06171>`_.

    .. math::
        \hat W_o = \frac{\gamma g_o}{\sqrt n} \cdot
        \frac{W_o - \overline{W_o}}{\sqrt{\sigma^2(W_o) + \epsilon}}

    with :math:`\sigma^2` the biased variance over the fan-in :math:`n` of an
    output channel, and a gain :math:`g` per output channel that is trained.
    No norm has to follow the layer, in contrast to :class:`ConvWS`. Inputs of
    independent values with mean 0 and variance 1 give outputs of variance
    :math:`(\gamma g)^2`.

    Results and state dict are those of ``ScaledStdConv2d`` of timm. The
    authors' code in JAX divides by :math:`\sqrt{\max(n \sigma^2, 10^{-4})}`
    instead, and multiplies by :math:`\gamma` behind the activation. A network
    without norms also needs the scaled residual branches of the papers, which
    no ``conv_cfg`` provides. The authors train gains and biases without
    weight decay, as ``paramwise_cfg=dict(bias_decay_mult=0.0,
    custom_keys=dict(gain=dict(decay_mult=0.0)))`` does.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Pixels of the kernel.
        stride: Pixels between two positions of the kernel.
        padding: Pixels added on each side.
        dilation: Pixels between two weights of the kernel.
        groups: Number of groups of channels, each convolved by itself.
        bias: Whether a bias is added.
        eps: Added to the variance, inside the root.
        gamma: The factor that makes up for the variance which the activation
            before the layer takes away: 1.7139588594436646 for ReLU, 1 for
            none.

    Shape:
        - Input: :math:`(N, C_{in}, H, W)`.
        - Output: :math:`(N, C_{out}, H', W')` as of a convolution.

    Raises:
        ValueError: If ``eps`` or ``gamma`` has a wrong value.

    Example::

        >>> conv = ScaledConvWS(3, 8, 3, padding=1)
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
        eps: float = 1e-6,
        gamma: float = 1.0,
    ) -> None:
        check_eps(eps, 'conv_cfg')
        check_least('gamma', gamma, 0, 'conv_cfg')
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
        self.gamma = gamma
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def standardized_weight(self) -> Tensor:
        """Return the filters that the convolution uses."""
        fan_in = self.weight[0].numel()
        # Half precision would round the product.
        wide = torch.promote_types(self.gain.dtype, torch.float32)
        gain = self.gain.flatten().to(wide) * (self.gamma / fan_in**0.5)
        return standardize_weight(self.weight, self.eps, False, True, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.standardized_weight(), self.bias)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, eps={self.eps}, gamma={self.gamma}'
