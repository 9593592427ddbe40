# Copyright (c) mmnorm contributors. All rights reserved.
"""Sparse switchable normalization."""

import torch
from torch import Tensor, nn

from mmnorm.functional import mixed_coefficients, normalize, sparsestmax
from mmnorm.registry import NORM_LAYERS

from .inputs import check_input
from .switchable_norm import SN


@NORM_LAYERS.register_module()
class SSN(SN):
    r"""Sparse switchable normalization: in the end one set of statistics.

    Paper: `SSN: Learning Sparse Switchable Normalization via SparsestMax
    <https://arxiv.org/abs/1903.03793>`_.

    .. math::
        y = \frac{x - \sum_k w_k M_k}
        {\sqrt{\sum_k w'_k V_k + \epsilon}} \gamma_c + \beta_c,
        \qquad k \in (\text{in}, \text{ln}, \text{bn})

    This layer is :class:`SN` with :func:`mmnorm.functional.sparsestmax`
    in place of the softmax. The buffer ``radius`` is the least distance of
    the shares from equal shares. The hook
    ``custom_hooks=[dict(type='mmnorm.SparseSwitchHook')]`` lets it grow from
    0 to 1 in a training; with three sets of statistics, one set alone is
    left from a radius of 0.82 on.

    With one image per step, the instance is the batch: both logits get the
    same gradient, stay equal, and no share becomes 1. ``use_bn=False`` leaves
    the batch out there.

    The authors train ``mean_weight`` and ``var_weight`` with a tenth of the
    learning rate and without weight decay, which ``paramwise_cfg`` can set.

    Differences from the authors' code, besides those of :class:`SN`:

    - Equal logits keep equal shares for any radius. The authors' code divides
      by 0 there.
    - The authors fix shares of 1 and write them into the parameters. Here
      their gradient is 0 once the radius or the logits leave one share.

    Checkpoints of the authors load, and checkpoints of :class:`SN`, too. The
    radius is part of the state dict.

    Args:
        num_features: Number of channels C.
        eps: Added to the mixed variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.
        use_bn: Whether batch statistics are in the mix.
        sync: Whether batch statistics are those of all processes.
        group_size: Processes that share statistics, in order of rank; None
            for all.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0, and differ among processes,
          as may the spatial size.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> norm = SSN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        use_bn: bool = True,
        sync: bool = True,
        group_size: int | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, use_bn, sync, group_size)
        self.register_buffer('radius', torch.zeros(()))

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        return mixed_coefficients(
            mean,
            var,
            self._batch(mean, var, num_pixels),
            sparsestmax(self.mean_weight, self.radius),
            sparsestmax(self.var_weight, self.radius),
            self.weight,
            self.bias,
            self.eps,
        )

    def forward(
        self, x: Tensor, activation: nn.Module | None = None
    ) -> Tensor:
        check_input(x, self.num_features, self.weight)
        return normalize(x, self.coefficients, activation)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # The authors also keep two flags, which the shares of 1 imply. Their
        # radius is of shape (1), and checkpoints of SN have none.
        for flag in ('mean_fixed', 'var_fixed'):
            state_dict.pop(prefix + flag, None)
        if prefix + 'mean_weight' in state_dict:
            radius = state_dict.get(prefix + 'radius', self.radius)
            state_dict[prefix + 'radius'] = radius.view(())
        super()._load_from_state_dict(state_dict, prefix, *args)
