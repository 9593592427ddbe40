# Copyright (c) mmnorm contributors. All rights reserved.
"""The backbone of a config of mmdet or mmseg, with other norms in it."""

from mmengine.config import Config
from torch import nn

from mmnorm.analysis.norm_states import norms_of, num_channels
from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from mmnorm.config.model_parts import find_parts

from .variants import Variant


def make_backbone(cfg: Config, variant: Variant) -> nn.Module:
    """Build a backbone, replace its norms and convolutions, freeze nothing.

    Convolutions get the random weights of the paper's networks, and not those
    of the config, so that backbones compare. Norms of tokens stay.

    Args:
        cfg: A config.
        variant: The norm and the convolutions.

    Raises:
        ConfigError: If the config has no backbone, or it cannot be built.
        ValueError: If the norm does not fit the backbone.
    """
    model = cfg.get('model') or {}
    parts = [
        part
        for path, part in find_parts(model)
        if path.rpartition('.')[2] == 'backbone' and isinstance(part, dict)
    ]
    if not parts:
        raise ConfigError('the config has no backbone')
    if variant.skip_init:
        raise ValueError(
            f'norm {variant.name!r} starts residual branches, and no backbone '
            'of a config has the gain for it: leave out SkipInit'
        )
    scope = cfg.get('default_scope')
    backbone = build_model(Config({'model': parts[0], 'default_scope': scope}))
    # The next call of train() would freeze stages, or evaluate norms.
    if hasattr(backbone, 'frozen_stages'):
        backbone.frozen_stages = -1
    if hasattr(backbone, 'norm_eval'):
        backbone.norm_eval = False
    return replace_layers(backbone, variant)


def replace_layers(network: nn.Module, variant: Variant) -> nn.Module:
    """Replace the norms and convolutions of a network, in place.

    Args:
        network: A network; its norms of tokens stay.
        variant: The norm and the convolutions.

    Example::

        >>> from mmnorm.analysis.untrained import parse_variant
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> replace_layers(network, parse_variant('IN'))[1]
        IN(8, num_groups=8, eps=1e-05, affine=True)
    """
    for name, norm in list(norms_of(network)):
        if not isinstance(norm, nn.LayerNorm):
            _set(network, name, variant.make_layer(num_channels(norm)))
    for name, conv in list(network.named_modules()):
        if isinstance(conv, nn.Conv2d):
            _set(network, name, _like(conv, variant))
    return network


def _set(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition('.')
    setattr(network.get_submodule(parent), child, module)


def _like(conv: nn.Conv2d, variant: Variant) -> nn.Conv2d:
    return variant.make_conv(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )
