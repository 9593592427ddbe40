# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch Kalman normalization."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmnorm.distributed.all_reduce import all_reduce
from mmnorm.functional import batch_coefficients, normalize
from mmnorm.functional.kalman import (
    convolved_moments,
    filtered_sums,
    relu_moments,
)
from mmnorm.functional.statistics import batch_sums, update_statistics
from mmnorm.registry import NORM_LAYERS

from .arguments import check_share
from .inputs import check_input
from .recomputation import Call, recall, record
from .sync_batch_norm import SyncBN

Moments = tuple[Tensor, Tensor]


class Prior(NamedTuple):
    """Where the prediction of a layer comes from.

    A tuple hides its modules from the state dict of the layer.
    """

    conv: nn.Conv2d  # the convolution in front of the layer
    # The layers whose moments are added before the ReLU in front of it: those
    # of their 'output', or of the activations 'entering' their convolution.
    terms: tuple[tuple['BKN', str], ...]


@NORM_LAYERS.register_module()
class BKN(SyncBN):
    r"""Batch Kalman normalization: the layer before predicts the statistics.

    Papers: `Batch Kalman Normalization <https://arxiv.org/abs/1802.03133>`_
    and its version of NeurIPS, Kalman Normalization.

    .. math::
        y = \frac{x - m'}{\sqrt{v' + \epsilon}} \gamma_c + \beta_c, \qquad
        m' = (1 - q) m_p + q m, \quad
        v' = (1 - q) v_p + q v + q (1 - q) (m - m_p)^2

    In training :math:`m, v` are the mean and the biased variance of the
    channel over the images and pixels of all processes, and
    :math:`m_p, v_p` are predicted: a layer before that has normalized by its
    :math:`m', v'` puts out normal variables of mean :math:`\beta` and
    variance :math:`\gamma^2`, and :math:`m_p, v_p` are their moments behind
    ReLU and the convolution between the layers. Where connections are added,
    their moments are added, too. Evaluation uses the running statistics,
    which are those of :math:`m', v'`.

    A prediction needs to know the layer before. The hook
    ``custom_hooks=[dict(type='mmnorm.KalmanHook')]`` tells each layer in the
    ResNets of mmdet, mmseg, mmpretrain and torchvision;
    :func:`mmnorm.connect_kalman` does so for any other training. A layer
    without a prediction is a batch normalization: the first one of a network,
    those of necks and heads, those behind a frozen layer, and those behind
    another convolution than :class:`torch.nn.Conv2d`. It is the same where
    the predicted variances are on average more than 100 times those of the
    batch, the limit of the authors.

    The paper treats the layers as the steps of a Kalman filter. The code of
    its authors predicts a step with the convolution between two layers, as
    here. Differences from this code:

    - The code sends :math:`m', v'` themselves through ReLU and the
      convolution, as if there were no normalization between them. In the
      ResNets here this error multiplies from layer to layer.
    - The code draws random activations of the size of the map and takes
      their moments. Here the moments are those of the distribution, without
      the zeros around a map.
    - The gradient of a prediction reaches the weight of the convolution. In
      the code it also flows into the layers before.
    - The code has networks that normalize in front of each convolution. In
      the ResNets here the norm is behind it, and a block ends with a sum and
      a ReLU. Poolings leave moments as they are, in both.
    - The statistics are those of all processes.

    Checkpoints of plain batch normalization load.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        group_size: Processes that share statistics, in order of rank; None
            for all.
        gain: The share q of the batch in its statistics, from 0 to 1; 1 is
            batch normalization.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> norm = BKN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        group_size: int | None = None,
        gain: float = 0.1,
    ) -> None:
        super().__init__(num_features, eps, momentum, group_size)
        check_share('gain', gain)
        self.gain = gain
        self.prior: Prior | None = None
        # Moments of the activations that entered the convolution in front,
        # at the last forward.
        self.entering: Moments | None = None

    @property
    def output(self) -> Moments:
        """The moments of the normalized channels: mean and variance."""
        return self.bias, self.weight.square()

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        statistics = self._filter(mean, var, num_pixels)
        return batch_coefficients(
            mean, *statistics, self.weight, self.bias, self.eps
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        if not self.training:
            return super().forward(x, activation)
        return normalize(x, self.coefficients, activation)

    def _filter(self, mean: Tensor, var: Tensor, num_pixels: int) -> Moments:
        first = recall(self)
        total = all_reduce(
            batch_sums(mean, var, num_pixels),
            self.group_size,
            None if first is None else first.total,
        )
        entering, sums = self._enter(), total
        if entering is not None:
            predicted = convolved_moments(*entering, self.prior.conv)
            sums = filtered_sums(total, predicted, self.gain)
        running = self if first is None else first
        statistics = update_statistics(
            sums,
            running.running_mean,
            running.running_var,
            self.num_batches_tracked,
            self.momentum,
            'biased',
            first is None,
        )
        if first is None:
            record(self, lambda: self._call(total))
        return statistics

    @torch.no_grad()
    def _enter(self) -> Moments | None:
        self.entering = None
        if self.prior is not None:
            moments = [
                getattr(layer, name) if layer.training else None
                for layer, name in self.prior.terms
            ]
            if None not in moments:
                total = (sum(each) for each in zip(*moments, strict=True))
                self.entering = relu_moments(*total)
        return self.entering

    def _call(self, total: Tensor) -> Call:
        running = self.running_mean.clone(), self.running_var.clone()
        return Call(total.detach(), *running)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, gain={self.gain}'
