# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch-channel normalization."""

import torch
from torch import Tensor, nn

from mmnorm.functional import batch_channel_coefficients, normalize
from mmnorm.functional.batch_part import BatchPart
from mmnorm.functional.dispatch import fused_kernels
from mmnorm.functional.statistics import update_statistics
from mmnorm.registry import NORM_LAYERS

from .arguments import (
    check_choice,
    check_common,
    check_count,
    check_momentum,
    check_share,
    resolve_num_groups,
)
from .batch_channel_state import to_batch_channel
from .batch_statistics import Estimate, batch_statistics, keep_for_step
from .fused_batch import fused_batch_part
from .inputs import check_input


@NORM_LAYERS.register_module()
class BCN(nn.GroupNorm):
    r"""Batch-channel normalization: a batch part, then a channel part.

    Paper: `Rethinking Normalization and Elimination Singularity in Neural
    Networks <https://arxiv.org/abs/1911.09738>`_ (not the layer of the same
    abbreviation in arXiv 2312.00596).

    .. math::
        z = \frac{x - M_c}{\sqrt{V_c + \epsilon}} \gamma_c + \beta_c, \qquad
        y = \frac{z - M_{ng}(z)}{\sqrt{V_{ng}(z) + \epsilon}} w + b

    The channel part is a group normalization of :math:`z`, with biased
    variances. With ``estimate=True`` the batch part normalizes with running
    statistics. In training the batch first moves them,

    .. math::
        M \leftarrow (1 - r) M + r\, \overline{x}, \qquad
        V \leftarrow (1 - r) V + r\, \overline{(x - M_\text{old})^2}

    where the means are those over all images and pixels of all processes,
    and :math:`r` is ``momentum`` for ``base_batch_size`` images or more. With
    ``estimate=False`` the batch part is that of :class:`SyncBN`. In
    evaluation the running statistics are used as they are. The evaluation
    mode of the child ``bn`` decides, which ``norm_eval=True`` of mmdet sets.

    Differences from the authors' code:

    - The speed of the authors' estimates is a buffer that starts at 0 and
      that no code sets, so their estimates never move. The speed here is
      ``momentum``.
    - The authors' estimates are not synchronized, and they are constants in
      the backward. Here they have the gradient of the batch.

    Checkpoints of the authors load. Checkpoints of plain batch normalization
    load into ``bn``, and the channel part keeps weights of 1 and biases of 0.

    The child ``bn`` holds parameters and running statistics of the batch
    part. It is never called: one pass computes both parts.

    Args:
        num_features: Number of channels C.
        num_groups: Number of groups of the channel part, or ``'auto'``: the
            largest divisor of ``num_features`` not above 32.
        eps: Added to the variances of both parts, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far. With
            ``sync='step'``, the batch is all images of one update of the
            optimizer.
        estimate: Whether to normalize with estimated statistics.
        sync: Whether batch statistics are those of all processes; or
            ``'step'``, for estimates: one all-reduce after each update of
            the optimizer serves all layers and all images of the update, and
            these images are normalized with the estimates of the update
            before. This value needs
            ``custom_hooks=[dict(type='mmnorm.StepSyncHook')]``.
        channel_affine: ``'group'`` for one weight and bias of the channel
            part per group, as in the authors' code, or ``'channel'`` for one
            weight and bias per channel.
        group_size: Processes that share statistics, in order of rank; None
            for all.
        estimate_grad: The gradient of the estimates: None for constants, as
            in the authors' code; ``'batch'`` for the gradient of the batch
            of all processes, or of one with ``sync='step'``, as in `Batch
            Renormalization <https://arxiv.org/abs/1702.03275>`_; ``'image'``
            for that as if each image were a batch, which no process has to
            send. Values and evaluation do not depend on it.
        grad_share: Share of that gradient, from 0 to 1.
        base_batch_size: Number of images that ``momentum`` is meant for: a
            batch of N images moves the estimates by ``momentum`` times
            :math:`\min(N / \text{base\_batch\_size}, 1)`. In a head, the
            regions of interest are the images. None for the same momentum
            for all batches, as in the authors' code.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value: ``num_groups`` does not
            divide ``num_features``, for example, or ``sync='step'`` is
            combined with ``estimate=False``.
        RuntimeError: In training with ``sync='step'`` and without the hook.

    Example::

        >>> norm = BCN(64)
        >>> norm(torch.rand(1, 64, 14, 14)).shape
        torch.Size([1, 64, 14, 14])
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        num_groups: int | str = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        estimate: bool = True,
        sync: bool | str = True,
        channel_affine: str = 'group',
        group_size: int | None = None,
        estimate_grad: str | None = 'batch',
        grad_share: float = 1.0,
        base_batch_size: int | None = 8,
    ) -> None:
        check_common(num_features, eps, estimate=estimate)
        check_momentum(momentum)
        check_count('group_size', group_size, 'all processes')
        check_count('base_batch_size', base_batch_size, 'a fixed momentum')
        check_choice('channel_affine', channel_affine, ('group', 'channel'))
        check_choice('estimate_grad', estimate_grad, (None, 'batch', 'image'))
        check_share('grad_share', grad_share)
        if not isinstance(sync, bool) and (sync != 'step' or not estimate):
            raise ValueError(
                f'norm_cfg.sync={sync!r} with estimate={estimate}: set sync '
                "to True or False, or to 'step' with estimate=True"
            )
        num_groups = resolve_num_groups(num_groups, num_features)
        super().__init__(num_groups, num_features, eps)
        if channel_affine == 'group':
            self.weight = nn.Parameter(torch.ones(num_groups))
            self.bias = nn.Parameter(torch.zeros(num_groups))
        self.estimate = estimate
        self.sync = sync
        self.channel_affine = channel_affine
        self.group_size = group_size
        self.estimate_grad = estimate_grad
        self.grad_share = grad_share
        self.base_batch_size = base_batch_size
        self.step_sums: Tensor | None = None
        # The batch norm is a child and not a base class, because tools that
        # fuse or convert batch norms would drop the channel part.
        self.bn = nn.BatchNorm2d(num_features, eps, momentum)

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        bn = self.bn
        if bn.training and self.sync == 'step':
            batch = self._keep_for_step(mean, var, num_pixels)
        else:
            batch = batch_statistics(bn, mean, var, num_pixels, *self._how())
        return batch_channel_coefficients(
            mean,
            var,
            self.num_groups,
            (*batch, bn.weight, bn.bias, bn.eps),
            self.weight,
            self.bias,
            self.eps,
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_channels, self.weight)
        kernels = fused_kernels(x)
        batch = kernels and self._fused_batch_part(x)
        if batch:
            weights = self.bn.weight, self.bn.bias, self.weight, self.bias
            norm = self.num_groups, *weights, self.eps
            if kernels.supports(x, norm):
                return kernels.fused_norm(x, norm, batch, activation)
        return normalize(x, self.coefficients, activation)

    def _fused_batch_part(self, x: Tensor) -> BatchPart | None:
        kind, *how = self._how()
        if self.sync == 'step':
            if self.step_sums is None:
                return None  # the other path says what is missing
            kind = 'step'
        return fused_batch_part(self.bn, x, kind, *how, self.step_sums)

    def _how(self) -> tuple[str, int | None, Estimate]:
        group_size = self.group_size if self.sync else 1
        if not self.estimate:
            return 'unbiased', group_size, Estimate()
        estimate = self.base_batch_size, self.estimate_grad, self.grad_share
        return 'estimated', group_size, Estimate(*estimate)

    def __getstate__(self) -> dict:
        # No StepSync reduces the sums of a copy.
        return {**vars(self), 'step_sums': None}

    def start_steps(self) -> None:
        """Allocate the sums that :class:`mmnorm.StepSync` reduces."""
        size = 2 * self.num_channels + 2
        device = self.bn.running_mean.device
        self.step_sums = torch.zeros(size, dtype=torch.float64, device=device)

    @torch.no_grad()
    def end_step(self, total: Tensor) -> None:
        """Move the estimates by the sums of a step, and clear the sums.

        Args:
            total: Sums of all processes since the last update.
        """
        bn = self.bn
        if bn.training:
            buffers = bn.running_mean, bn.running_var, bn.num_batches_tracked
            how = bn.momentum, 'estimated', True, self.base_batch_size
            update_statistics(total, *buffers, *how)
        self.step_sums.zero_()

    def _keep_for_step(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        if self.step_sums is None:
            raise RuntimeError(
                "norm_cfg.sync='step' moves no estimate by itself: add "
                "custom_hooks=[dict(type='mmnorm.StepSyncHook')] to the "
                'config, or call mmnorm.StepSync after each update'
            )
        sums, estimate = self.step_sums, self._how()[2]
        return keep_for_step(self.bn, mean, var, num_pixels, sums, estimate)

    def init_weights(self) -> None:
        """Reset the weight of the batch part where mmdet has zeroed both.

        ``zero_init_residual=True`` zeroes every weight in the last norm of a
        block. Here these are two factors of a product, and none of them
        would ever get a gradient. mmengine calls this method afterwards, and
        only the weight of the channel part stays 0.
        """
        if not self.weight.any() and not self.bn.weight.any():
            nn.init.ones_(self.bn.weight)

    def extra_repr(self) -> str:
        return (
            f'{self.num_channels}, num_groups={self.num_groups}, '
            f'eps={self.eps}, estimate={self.estimate}, sync={self.sync}, '
            f'channel_affine={self.channel_affine!r}, '
            f'estimate_grad={self.estimate_grad!r}, '
            f'grad_share={self.grad_share}, '
            f'base_batch_size={self.base_batch_size}'
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        to_batch_channel(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
