# Copyright (c) mmnorm contributors. All rights reserved.
"""The plain and the residual networks of the paper "Beyond BatchNorm".

Paper: https://arxiv.org/abs/2106.05956. Widths, strides and the order of
layers are those of the authors' ``models.py`` and ``config.py``. The networks
end with their last activation, and convolutions have no bias: a bias of 0, as
the authors have it for weight standardization, changes no measure.
"""

import torch
from torch import Tensor, nn

from .variants import Variant

# Width of each stage, and layers per stage. All stages but the last end with
# a stride of 2.
PLAIN = {
    'vgg10': ((64, 128, 256, 512, 512), 2),
    'vgg20': ((64, 128, 256, 256, 512), 4),
    'vgg40': ((64, 128, 256, 512, 512), 8),
}
RESNET_WIDTHS = (32, 64, 128)
RESNET_BLOCKS = {'resnet20': 3, 'resnet56': 9}
NETWORKS = (*PLAIN, *RESNET_BLOCKS)


def make_network(name: str, variant: Variant) -> nn.Module:
    """Return a network with random weights, without its classifier.

    Args:
        name: A name in ``NETWORKS``: a plain network with this number of
            convolutions, or a residual one of three stages.
        variant: The norm and the convolutions.

    Raises:
        ValueError: If a plain network gets SkipInit, or the norm has groups
            that do not divide a width.

    Example::

        >>> from mmnorm.analysis.untrained import parse_variant
        >>> network = make_network('vgg10', parse_variant('GN'))
        >>> network(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 512, 2, 2])
    """
    if name in RESNET_BLOCKS:
        return _resnet(RESNET_BLOCKS[name], variant)
    if variant.skip_init:
        raise ValueError(
            f'norm {variant.name!r} starts residual branches, and {name} has '
            'none: leave out SkipInit'
        )
    return _plain(*PLAIN[name], variant)


class Block(nn.Module):
    """A residual block with the activation behind the sum."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, variant: Variant
    ) -> None:
        super().__init__()
        self.conv1 = variant.make_conv(
            in_channels, channels, 3, stride=stride, padding=1
        )
        self.norm1 = variant.make_norm(channels)
        self.act1 = variant.make_activation(channels)
        self.conv2 = variant.make_conv(channels, channels, 3, padding=1)
        self.norm2 = variant.make_norm(channels)
        self.act2 = variant.make_activation(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                variant.make_conv(
                    in_channels, channels, 3, stride=stride, padding=1
                ),
                variant.make_norm(channels),
            )
        gain = 0.0 if variant.skip_init else 1.0
        self.skip_gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of branch and shortcut, activated."""
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.act2(self.skip_gain * y + self.shortcut(x))


def _plain(
    widths: tuple[int, ...], num_layers: int, variant: Variant
) -> nn.Sequential:
    modules, before = [], 3
    for stage, width in enumerate(widths, 1):
        for layer in range(1, num_layers + 1):
            ends = layer == num_layers and stage < len(widths)
            modules += [
                variant.make_conv(
                    before, width, 3, stride=2 if ends else 1, padding=1
                ),
                variant.make_norm(width),
                variant.make_activation(width),
            ]
            before = width
    return nn.Sequential(*modules)


def _resnet(num_blocks: int, variant: Variant) -> nn.Sequential:
    width = RESNET_WIDTHS[0]
    modules = [
        variant.make_conv(3, width, 3, padding=1),
        variant.make_norm(width),
        variant.make_activation(width),
    ]
    before = width
    for width in RESNET_WIDTHS:
        for block in range(num_blocks):
            stride = 2 if block == 0 and width != RESNET_WIDTHS[0] else 1
            modules.append(Block(before, width, stride, variant))
            before = width
    return nn.Sequential(*modules)
