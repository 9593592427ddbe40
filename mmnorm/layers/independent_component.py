# Copyright (c) mmnorm contributors. All rights reserved.
"""The independent-component layer: batch normalization and dropout."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_share
from .sync_batch_norm import SyncBN


@NORM_LAYERS.register_module()
class IC(nn.Module):
    r"""Batch normalization and dropout, to be placed before a convolution.

    Paper: `Rethinking the Usage of Batch Normalization and Dropout in the
    Training of Deep Neural Networks <https://arxiv.org/abs/1905.05928>`_.

    .. math::
        y = \frac{m}{1 - p} \left(\frac{x - M_c}{\sqrt{V_c + \epsilon}}
        \gamma_c + \beta_c\right), \qquad m \sim \text{Bernoulli}(1 - p)

    The first factor is that of training; in evaluation it is 1. A mask
    :math:`m` is drawn for each value. :math:`M, V` are those of
    :class:`SyncBN`, over all processes. The paper makes the inputs of each
    convolution more independent of each other, so a network repeats ReLU,
    this layer, convolution: the layer has as many channels as the input of
    the convolution.

    ``ConvModule(..., order=('norm', 'conv', 'act'))`` of mmcv builds the
    layer with the right number of channels. No config of mmdet or mmseg can
    set this order; :class:`ConvIC` is the same pair of layers as a
    ``conv_cfg``.

    The batch norm is the child ``bn``, so that no tool takes the layer for a
    batch norm behind the convolution and merges the two.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        p: Share of the values that dropout sets to 0.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> import torch
        >>> norm = IC(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'ic'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        p: float = 0.05,
        group_size: int | None = None,
    ) -> None:
        check_common(num_features, eps)
        check_share('p', p)
        super().__init__()
        self.p = p
        self.bn = SyncBN(num_features, eps, momentum, group_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.bn(x), self.p, self.training)

    def extra_repr(self) -> str:
        return f'p={self.p}'
