# Copyright (c) mmnorm contributors. All rights reserved.
"""Moving average batch normalization."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm.functional import normalize
from mmnorm.functional.moving_average import Moving, moving_rstd, put
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_share, check_whole
from .inputs import check_input
from .recomputation import recall, record

R_MAX = 5


@NORM_LAYERS.register_module()
class MABN(_InstanceNorm):
    r"""Moving average batch normalization, without a mean.

    Paper: `Towards Stabilizing Batch Statistics in Backward Propagation of
    Batch Normalization <https://arxiv.org/abs/2001.06838>`_.

    .. math::
        y = \frac{x}{\sqrt{\overline{\chi^2_c} + \epsilon}} r_c \gamma_c
        + \beta_c, \qquad
        r = \sqrt{\frac{\overline{\chi^2} + \epsilon}{R + \epsilon}}

    Here :math:`\chi^2` is the mean of the squares of a batch, and
    :math:`\overline{\chi^2}` its mean over the last ``buffer_size`` batches.
    :math:`R` is the running one before this batch moves it, which also
    normalizes in evaluation. :math:`r` is clipped to :math:`[1/5, 5]` and has
    no gradient. In the backward, the mean of the last batches replaces the
    statistic of the batch that the gradient of a batch normalization
    contains. The first batches use their own statistics, with r = 1.

    The statistics are those of this process, because moving averages are made
    to replace synchronization. The layer subtracts no mean, and therefore the
    authors center the weights of the convolutions in front of it, as
    ``conv_cfg=dict(type='mmnorm.ConvWC')`` does.

    Differences from the authors' code:

    - ``momentum`` is the share of the new batch, as in torch. The authors'
      is the share that is kept: 0.98 there is 0.02 here.
    - The size of the buffers is given as a number of batches. The authors
      give two batch sizes, whose ratio it is: 32 and 2.
    - A batch that is empty or not finite leaves no trace.

    Checkpoints of the authors load. Under ``torch.compile``, a training graph
    breaks at this layer.

    Args:
        num_features: Number of channels C.
        eps: Added to mean squares, inside the root.
        momentum: Share of the new batch in the running mean square, from 0
            to 1.
        buffer_size: Number of batches in the moving averages.
        warmup_iters: Number of the first batch that uses moving averages. It
            is at least ``buffer_size + 1``.
        renorm_iters: Number of batches before r may differ from 1.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> norm = MABN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.02,
        buffer_size: int = 16,
        warmup_iters: int = 100,
        renorm_iters: int = 1000,
    ) -> None:
        check_common(num_features, eps)
        check_share('momentum', momentum)
        check_whole('buffer_size', buffer_size, 1)
        check_whole('warmup_iters', warmup_iters, 0)
        check_whole('renorm_iters', renorm_iters, 0)
        super().__init__(
            num_features, eps, momentum, affine=True, track_running_stats=True
        )
        self.running_mean = None
        self.buffer_size = buffer_size
        self.warmup_iters = warmup_iters
        self.renorm_iters = renorm_iters
        zeros = torch.zeros(buffer_size, num_features)
        self.register_buffer('buffer_x2', zeros)
        self.register_buffer('buffer_gz', zeros.clone())

    def reset_running_stats(self) -> None:
        """Reset the running mean square; it starts at 1."""
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        num_images = mean.shape[0]
        square = (var + mean.square()).sum(0) / max(num_images, 1)
        count = num_images * num_pixels
        moving = recall(self)
        if moving is None:
            moving = self._move(square.detach(), count)
            record(self, lambda: moving)
        rstd = moving_rstd(square, moving, self.buffer_gz, count, self.eps)
        scale = self.weight * moving.r * rstd
        return scale, scale * mean + self.bias

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        if self.training:
            return normalize(x, self.coefficients, activation)
        zero = torch.zeros_like(self.running_var)
        parameters = self.weight, self.bias
        y = F.batch_norm(x, zero, self.running_var, *parameters, eps=self.eps)
        return y if activation is None else activation(y)

    @torch.no_grad()
    def _move(self, square: Tensor, count: int) -> Moving:
        valid = square.isfinite().all() & (count > 0)
        batch = self.num_batches_tracked + 1
        self.num_batches_tracked += valid
        rows = torch.arange(self.buffer_size, device=square.device)
        slot = (rows == batch % self.buffer_size)[:, None] & valid
        put(self.buffer_x2, slot, square)
        ready = batch >= max(self.warmup_iters, self.buffer_size + 1)
        mean = self.buffer_x2.to(square).mean(0)
        var = torch.where(ready & valid, mean, square)
        running = self.running_var.to(square)
        r = ((var + self.eps) / (running + self.eps)).sqrt()
        r = r.clamp(1 / R_MAX, R_MAX)
        renorm = batch > max(self.renorm_iters, self.warmup_iters)
        r = torch.where(renorm, r, torch.ones_like(r))
        moved = running + self.momentum * (var - running)
        self.running_var.copy_(torch.where(valid, moved, running))
        return Moving(var, r, slot, ready)

    def extra_repr(self) -> str:
        return (
            f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, '
            f'buffer_size={self.buffer_size}, '
            f'warmup_iters={self.warmup_iters}, '
            f'renorm_iters={self.renorm_iters}'
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # The authors' running variance is (1, C, 1, 1), their counter (1).
        var = prefix + 'running_var'
        if var in state_dict:
            state_dict[var] = state_dict[var].view(-1)
        if prefix + 'iters' in state_dict:
            counter = state_dict.pop(prefix + 'iters').view(())
            state_dict[prefix + 'num_batches_tracked'] = counter
        super()._load_from_state_dict(state_dict, prefix, *args)
