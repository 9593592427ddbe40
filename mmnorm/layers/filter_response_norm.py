# Copyright (c) mmnorm contributors. All rights reserved.
"""Filter response normalization."""

import torch
from torch import Tensor, nn

from mmnorm.functional import filter_response_coefficients, normalize
from mmnorm.registry import NORM_LAYERS

from .arguments import check_common
from .inputs import check_input


@NORM_LAYERS.register_module()
class FRN(nn.GroupNorm):
    r"""Filter response normalization, with its own activation.

    Paper: `Filter Response Normalization Layer
    <https://arxiv.org/abs/1911.09737>`_.

    .. math::
        y = \frac{x}{\sqrt{\nu^2_{nc} + \epsilon}} \gamma_c + \beta_c, \qquad
        z = \max(y, \tau_c), \qquad \nu^2 = \overline{x^2}

    The mean square is taken over the pixels of one channel of one image, and
    no mean is subtracted. The threshold :math:`\tau`, a learned number per
    channel, makes the layer an activation, too: the config sets
    ``act_cfg=None`` for its modules. The authors warm up the learning rate,
    because the layer centers no activation.

    On a map of one pixel, :math:`x / \sqrt{\nu^2 + \epsilon}` is little more
    than the sign of x. For networks with such maps, the authors learn a
    larger :math:`\epsilon`: with ``learn_eps``, the layer adds the absolute
    value of a learned number to ``eps``. It starts at 1e-4.

    Args:
        num_features: Number of channels C.
        eps: Added to the mean square, inside the root.
        learn_eps: Whether the layer learns a number that is added to ``eps``.

    Shape:
        - Input: :math:`(N, C, *)`.
        - Output: the same.

    Raises:
        ValueError: If an argument has a wrong value.

    Example::

        >>> norm = FRN(64)
        >>> norm(torch.rand(2, 64, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    _abbr_ = 'frn'

    def __init__(
        self, num_features: int, eps: float = 1e-5, learn_eps: bool = False
    ) -> None:
        check_common(num_features, eps, learn_eps=learn_eps)
        super().__init__(num_features, num_features, eps)
        self.tau = nn.Parameter(torch.zeros(num_features))
        learned = nn.Parameter(torch.full((1,), 1e-4)) if learn_eps else None
        self.register_parameter('learned_eps', learned)

    def coefficients(
        self, mean: Tensor, var: Tensor, num_pixels: int
    ) -> tuple[Tensor, Tensor]:
        eps = self.eps
        if self.learned_eps is not None:
            eps = eps + self.learned_eps.to(mean.dtype).abs()
        return filter_response_coefficients(
            mean, var, self.weight, self.bias, eps
        )

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_channels, self.weight)
        y = normalize(x, self.coefficients)
        # The gradient of tau is a sum over all pixels.
        tau = self.tau.view(-1, *[1] * (x.dim() - 2))
        return torch.maximum(y, tau).to(y.dtype)

    def extra_repr(self) -> str:
        learn_eps = self.learned_eps is not None
        return (
            f'{self.num_channels}, num_groups={self.num_groups}, '
            f'eps={self.eps}, learn_eps={learn_eps}'
        )
