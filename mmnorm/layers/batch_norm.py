# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch normalization of each process by itself."""

from mmnorm.registry import NORM_LAYERS

from .sync_batch_norm import SyncBN


@NORM_LAYERS.register_module()
class BN(SyncBN):
    r"""Batch normalization with the statistics of this process.

    Paper: `Batch Normalization <https://arxiv.org/abs/1502.03167>`_.

    .. math::
        y = \frac{x - M_c}{\sqrt{V_c + \epsilon}} \gamma_c + \beta_c

    This layer is :class:`SyncBN` with ``group_size=1``: in training
    :math:`M, V` are the mean and the biased variance of the channel over the
    images and pixels of this process. Meaning and state dict are those of
    :class:`torch.nn.BatchNorm2d`. It normalizes a channel that has at most
    one value with the running statistics, where torch raises an error.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance, inside the root.
        momentum: Share of the new batch in the running statistics, from 0
            to 1; None for the mean of all batches so far.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> import torch
        >>> norm = BN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__(num_features, eps, momentum, group_size=1)
