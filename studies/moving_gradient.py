# Copyright (c) mmnorm contributors. All rights reserved.
"""BCN with gradient statistics of the last images, which a study compares."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmnorm import BCN
from mmnorm.registry import NORM_LAYERS


@NORM_LAYERS.register_module()
class MovingGradientBCN(BCN):
    r"""BCN whose estimates have a gradient over the last images.

    Papers: `Moving Average Batch Normalization
    <https://arxiv.org/abs/2001.06838>`_ and `Online Normalization
    <https://arxiv.org/abs/1905.05894>`_.

    With :math:`g` the gradient of :math:`x` for constant estimates and
    :math:`\hat x = (x - M) / \sqrt{V + \epsilon}`, batch normalization
    returns :math:`g - \overline{g} - \hat x\, \overline{g \hat x}`. Here
    both means are taken over the last images. With ``kind='moving'`` they are
    moving averages, which include the current batch. With ``kind='online'``
    they are the sums of what remains after each step, times :math:`1 - b`,
    and the slope is that of the gradient of :math:`\hat x`, as in the second
    paper.

    Args:
        num_features: Number of channels.
        kind: ``'moving'`` or ``'online'``.
        decay: The share :math:`b` of the old means.
        **kwargs: Arguments of :class:`BCN`, but not ``estimate_grad``.
    """

    def __init__(
        self,
        num_features: int,
        kind: str = 'moving',
        decay: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_features, estimate_grad=None, **kwargs)
        self.kind = kind
        self.decay = decay
        self.register_buffer('grad_mean', torch.zeros(num_features))
        self.register_buffer('grad_slope', torch.zeros(num_features))

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        if self.training and x.requires_grad:
            x = _Control.apply(x, self)
        return super().forward(x, activation)


class _Control(Function):
    @staticmethod
    def forward(ctx, x: Tensor, norm: MovingGradientBCN) -> Tensor:
        ctx.save_for_backward(x)
        ctx.norm = norm
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        norm, bn = ctx.norm, ctx.norm.bn
        dims = (0, *range(2, x.dim()))

        def per_channel(numbers: Tensor) -> Tensor:
            return numbers.view(1, -1, *[1] * (x.dim() - 2))

        rstd = (bn.running_var + bn.eps).rsqrt()
        normalized = per_channel(rstd) * (x - per_channel(bn.running_mean))
        if norm.kind == 'online':
            slope = per_channel((1 - norm.decay) * norm.grad_slope)
            grad = grad / per_channel(rstd) - slope * normalized
            norm.grad_slope += (grad * normalized).mean(dims)
            mean = per_channel((1 - norm.decay) * norm.grad_mean)
            grad = grad * per_channel(rstd) - mean
            norm.grad_mean += grad.mean(dims)
            return grad, None
        norm.grad_mean.lerp_(grad.mean(dims), 1 - norm.decay)
        norm.grad_slope.lerp_((grad * normalized).mean(dims), 1 - norm.decay)
        slope = per_channel(norm.grad_slope)
        return grad - per_channel(norm.grad_mean) - slope * normalized, None
