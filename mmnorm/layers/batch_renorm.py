# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch renormalization."""

from torch import Tensor, nn

from mmnorm.functional import normalize, renormalized_coefficients
from mmnorm.registry import NORM_LAYERS

from .arguments import check_least, check_whole
from .batch_statistics import batch_statistics
from .inputs import check_input
from .recomputation import Call, recall, record
from .sync_batch_norm import SyncBN


@NORM_LAYERS.register_module()
class BRN(SyncBN):
    r"""Batch renormalization: batch statistics, corrected to running ones.

    Paper: `Batch Renormalization <https://arxiv.org/abs/1702.03275>`_.

    .. math::
        y = \left(\frac{x - m_c}{s_c} r_c + d_c\right) \gamma_c + \beta_c,
        \qquad r = \frac{s}{\sigma}, \qquad d = \frac{m - \mu}{\sigma}

    Here :math:`m` and :math:`s = \sqrt{v + \epsilon}` belong to the batch of
    all processes, and :math:`\mu, \sigma` to the running statistics before
    this batch moves them. :math:`r` is clipped to
    :math:`[1 / r_\text{max}, r_\text{max}]` and :math:`d` to
    :math:`[-d_\text{max}, d_\text{max}]`, and neither has a gradient. Where
    nothing is clipped, the values are those of the evaluation. The first
    ``start`` batches are normalized by their own statistics alone. Then the
    limits grow in equal steps. In evaluation this layer is :class:`SyncBN`.

    Two things differ from the paper. The running statistics hold a variance,
    as in batch normalization, and not a standard deviation, so a checkpoint
    of either layer loads into the other one. The statistics are those of all
    processes. ``num_batches_tracked`` counts the batches of the schedule, and
    a resumed training continues the schedule. The counter of a loaded
    checkpoint of batch normalization counts, too.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far. The default is
            that of the paper.
        group_size: Processes that share statistics, in order of rank; None
            for all.
        r_max: Final limit of the factor r, 1 or more.
        d_max: Final limit of the shift d in standard deviations, 0 or more.
        start: Number of batches before the limits grow.
        r_steps: Number of batches after which ``r_max`` is reached.
        d_steps: Number of batches after which ``d_max`` is reached.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value: ``r_steps`` is less
            than ``start``, for example.

    Example::

        >>> import torch
        >>> norm = BRN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.01,
        group_size: int | None = None,
        r_max: float = 3.0,
        d_max: float = 5.0,
        start: int = 5000,
        r_steps: int = 40000,
        d_steps: int = 25000,
    ) -> None:
        super().__init__(num_features, eps, momentum, group_size)
        check_least('r_max', r_max, 1)
        check_least('d_max', d_max, 0)
        check_whole('start', start, 0)
        check_whole('r_steps', r_steps, start)
        check_whole('d_steps', d_steps, start)
        self.r_max = r_max
        self.d_max = d_max
        self.start = start
        self.r_steps = r_steps
        self.d_steps = d_steps

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        before = self._before_update()
        batch = batch_statistics(
            self, mean, var, num_pixels, 'biased', self.group_size
        )
        return renormalized_coefficients(
            mean,
            batch,
            (before.running_mean, before.running_var),
            self._limits(before.total),
            self.weight,
            self.bias,
            self.eps,
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        if not self.training:
            return super().forward(x, activation)
        return normalize(x, self.coefficients, activation)

    def _before_update(self) -> Call:
        # A recomputed forward finds running statistics that have moved, so
        # the first forward keeps copies, with the counter in place of sums.
        first = recall(self)
        if first is None:
            first = Call(
                self.num_batches_tracked.clone(),
                self.running_mean.clone(),
                self.running_var.clone(),
            )
            record(self, lambda: first)
        return first

    def _limits(self, num_batches: Tensor) -> tuple[Tensor, Tensor]:
        step = num_batches.double() - self.start + 1
        of_r = (step / (self.r_steps - self.start + 1)).clamp(0, 1)
        of_d = (step / (self.d_steps - self.start + 1)).clamp(0, 1)
        return 1 + (self.r_max - 1) * of_r, self.d_max * of_d

    def extra_repr(self) -> str:
        return (
            f'{super().extra_repr()}, r_max={self.r_max}, '
            f'd_max={self.d_max}, start={self.start}, '
            f'r_steps={self.r_steps}, d_steps={self.d_steps}'
        )
