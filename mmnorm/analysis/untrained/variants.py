# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms and convolutions that an untrained network is built of."""

import re
from typing import NamedTuple

import torch
from torch import nn

from mmnorm import layers
from mmnorm.config.apply_norm import NORMS
from mmnorm.config.registered import nearest

NO_NORM = 'none'
NAME = re.compile(r'(\w+?)(?:-(batch|size-\d+|groups-\d+))?')
FAMILY = ('IN', 'GN', 'LN')
# These are norm and activation in one formula.
EVOLVED = ('EvoNormB0', 'EvoNormS0')
# The standard deviation of a ReLU of a normal variable is 1 over this number.
RELU_GAIN = 1.7139588594436646


class Variant(NamedTuple):
    """A way to normalize a network.

    Attributes:
        name: As :func:`parse_variant` reads it.
        norm: The class of the norm in ``mmnorm.layers``, or ``'none'``.
        setting: ``'batch'``, ``'size-8'``, ``'groups-32'`` or empty.
        conv: The class of the convolutions.
        skip_init: Whether the branch of each residual block starts at 0.
    """

    name: str
    norm: str
    setting: str
    conv: type[nn.Conv2d]
    skip_init: bool

    def group_size(self, num_channels: int) -> int | None:
        """Return the number of channels per group of IN, GN and LN.

        Args:
            num_channels: Number of channels of the layer.
        """
        if self.norm not in FAMILY:
            return None
        return num_channels // self.make_layer(num_channels).num_groups

    def make_layer(self, num_channels: int) -> nn.Module:
        """Return the norm, or the identity.

        FRN comes without its activation, because a ReLU has its initial
        values, and the authors of FRN put the activation behind the sum of a
        residual block.

        Args:
            num_channels: Number of channels.

        Raises:
            ValueError: If the groups do not divide the channels.
        """
        if self.norm == NO_NORM:
            return nn.Identity()
        cls = getattr(layers, self.norm)
        kind, _, number = self.setting.partition('-')
        if kind == 'batch':
            return cls(num_channels, num_groups='auto', estimate=False)
        if kind == 'groups':
            return cls(num_channels, num_groups=int(number))
        if kind == 'size':
            return cls(num_channels, _num_groups(num_channels, int(number)))
        if self.norm in ('BCN', 'EvoNormS0', 'GN', 'GW', 'MetaNorm'):
            return cls(num_channels, num_groups='auto')
        layer = cls(num_channels)
        if self.norm == 'FRN':
            nn.init.constant_(layer.tau, -torch.inf)
        return layer

    def make_norm(self, num_channels: int) -> nn.Module:
        """Return what stands before an activation, or before a sum."""
        if self.norm in EVOLVED:
            return nn.Identity()
        return self.make_layer(num_channels)

    def make_activation(self, num_channels: int) -> nn.Module:
        """Return the activation, which is the norm if the norm is one."""
        if self.norm in EVOLVED:
            return self.make_layer(num_channels)
        return nn.ReLU()

    def make_conv(self, *args, **options) -> nn.Conv2d:
        """Return a convolution with random weights and without a bias."""
        if self.conv is layers.ScaledConvWS:
            options['gamma'] = RELU_GAIN
        conv = self.conv(*args, **options, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
        return conv


def parse_variant(name: str) -> Variant:
    """Read a name such as ``'GN-size-8+WS'``.

    Args:
        name: A norm of ``apply_norm.NORMS`` or ``'none'``; ``GN-size-8`` for
            eight channels per group, ``GN-groups-8`` for eight groups, or
            ``BCN-batch``; then, if wanted, ``+WS`` or ``+ScaledWS`` for the
            convolutions, and ``+SkipInit``.

    Raises:
        ValueError: If there is no such norm or setting.

    Example::

        >>> variant = parse_variant('GN-size-8+WS')
        >>> variant.make_norm(64).num_groups, variant.conv.__name__
        (8, 'ConvWS')
    """
    first, *rest = name.split('+')
    convs = {'WS': layers.ConvWS, 'ScaledWS': layers.ScaledConvWS}
    matched = NAME.fullmatch(first)
    norm, setting = matched.groups(default='') if matched else (first, '')
    if norm not in (*NORMS, NO_NORM):
        raise ValueError(
            f'norm {name!r} is unknown: the nearest names are '
            f'{nearest(norm, (*NORMS, NO_NORM))}'
        )
    owners = ('BCN',) if setting == 'batch' else ('GN',)
    if setting and norm not in owners:
        raise ValueError(
            f'norm {name!r} has a setting of {owners[0]}: leave out {setting}'
        )
    for part in rest:
        if part not in (*convs, 'SkipInit'):
            raise ValueError(
                f'norm {name!r} ends in {part!r}: use WS, ScaledWS or SkipInit'
            )
    conv = next((convs[p] for p in rest if p in convs), nn.Conv2d)
    return Variant(name, norm, setting, conv, 'SkipInit' in rest)


def _num_groups(num_channels: int, group_size: int) -> int:
    # A group cannot be larger than the layer, which is layer norm.
    size = min(group_size, num_channels)
    if size < 1 or num_channels % size:
        raise ValueError(
            f'{num_channels} channels have no groups of {group_size}: name '
            'another size'
        )
    return num_channels // size
