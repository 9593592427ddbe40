# Copyright (c) mmnorm contributors. All rights reserved.
"""Group whitening."""

from torch import Tensor, nn

from mmnorm.functional.group_whitening import group_whitening
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common, check_whole, resolve_num_groups


@NORM_LAYERS.register_module()
class GW(nn.GroupNorm):
    r"""Group whitening: groups of channels of one image, uncorrelated.

    Paper: `Group Whitening: Balancing Learning Efficiency and
    Representational Capacity <https://arxiv.org/abs/2009.13333>`_.

    .. math::
        y = \gamma_c \left[ \Sigma_n^{-1/2} (x - \mu_n) \right]_c + \beta_c,
        \qquad \Sigma_n = \frac{1}{m} (x - \mu_n) (x - \mu_n)^T + \epsilon I

    Here :math:`x` is the matrix of an image with one row per group and
    :math:`m` columns, which are the channels of a group and all pixels.
    :math:`\mu_n` are the means of the rows. :class:`GN` divides each row by
    its standard deviation; this layer also removes the correlation of the
    rows. Training and evaluation are alike, and no image sees another.

    The inverse root is that of the authors' experiments: five of
    :func:`Newton's iterations
    <mmnorm.functional.group_whitening.inverse_root>`. More iterations come
    closer to the exact root, ZCA whitening.

    Differences from the authors' code:

    - The authors add no eps where they use Newton's iteration, and a
      constant image gives NaN. Here eps is added to the variances, as in
      their form with a singular value decomposition.
    - The form with a singular value decomposition is not included. Its
      gradient divides by differences of eigenvalues, which are 0 if a group
      has fewer values than there are groups.
    - A layer of fewer channels than groups takes one channel per group in
      the authors' code. Here ``num_groups='auto'`` serves such layers.

    Checkpoints of the authors load, and checkpoints of :class:`GN`, too.

    Args:
        num_features: Number of channels C.
        num_groups: Number of groups, or ``'auto'``: the largest divisor of
            ``num_features`` not above 32. The default is that of the
            authors' experiments.
        eps: Added to the variances of the groups.
        num_iterations: Number of Newton's iterations.

    Shape:
        - Input: :math:`(N, C, *)`; N may be 0.
        - Output: the same.

    Raises:
        ValueError: If ``num_groups`` does not divide ``num_features``, or
            the input has fewer than two dimensions.

    Example::

        >>> import torch
        >>> norm = GW(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'gw'

    def __init__(
        self,
        num_features: int,
        num_groups: int | str = 64,
        eps: float = 1e-5,
        num_iterations: int = 5,
    ) -> None:
        check_common(num_features, eps)
        check_whole('num_iterations', num_iterations, 1)
        num_groups = resolve_num_groups(num_groups, num_features)
        super().__init__(num_groups, num_features, eps)
        self.num_iterations = num_iterations

    def forward(self, x: Tensor) -> Tensor:
        options = self.num_groups, self.num_iterations
        return group_whitening(x, *options, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f'{self.num_channels}, num_groups={self.num_groups}, '
            f'eps={self.eps}, num_iterations={self.num_iterations}'
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # The authors' parameters are (1, C, 1, 1).
        for name in ('weight', 'bias'):
            if prefix + name in state_dict:
                state_dict[prefix + name] = state_dict[prefix + name].view(-1)
        super()._load_from_state_dict(state_dict, prefix, *args)
