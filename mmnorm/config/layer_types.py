# Copyright (c) mmnorm contributors. All rights reserved.
"""Find the norms and convolutions of a config that no registry knows.

mmcv looks up a layer while a model builds it. If the type is unknown, the
error of mmcv says neither the type nor the key of the config.
"""

import inspect
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import MODELS, Registry
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mmnorm.registry import MODELS as MMNORM_MODELS

from .registered import nearest, registered

LAYERS = {'norm_cfg': 'norm', 'conv_cfg': 'convolution'}
NORM_BASES = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def layer_type_error(cfg: Config) -> str | None:
    """Return which layer of the model has an unknown type, or None.

    Args:
        cfg: The config. The function looks up each ``norm_cfg`` and
            ``conv_cfg`` in the model, and longer keys such as
            ``act_norm_cfg``.
    """
    scope = cfg.get('default_scope')
    for key, name, scopes in _types(cfg.get('model'), 'model', (scope,)):
        if all(registered(MODELS, name, scope) is None for scope in scopes):
            layer = next(LAYERS[end] for end in LAYERS if key.endswith(end))
            names = _layer_names(layer, scopes[0])
            return (
                f'{key}.type={name!r} is not the name of a registered '
                f'{layer}: set it to a name such as {nearest(name, names)}'
            )
    return None


def _types(
    node: object, path: str, scopes: tuple[str | None, ...]
) -> Iterator[tuple[str, str, tuple[str | None, ...]]]:
    # Yields the key of each layer, its type, and the scopes of the type.
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    if '_scope_' in node:
        scopes = (node['_scope_'],)
    name = node.get('type')
    if isinstance(name, str):
        if path.endswith(tuple(LAYERS)):
            yield path, name, scopes
        elif '.' in name:  # mmpretrain.ConvNeXt looks in mmpretrain, too
            scopes = (*scopes, name.rpartition('.')[0])
    for key, value in node.items():
        yield from _types(value, f'{path}.{key}', scopes)


def _layer_names(layer: str, scope: str | None) -> Iterator[str]:
    with MODELS.switch_scope_and_registry(scope) as registry:
        while registry is not None:
            yield from _names_in(registry, layer)
            registry = registry.parent
    for name in _names_in(MMNORM_MODELS, layer):
        yield f'mmnorm.{name}'


def _names_in(registry: Registry, layer: str) -> Iterator[str]:
    for name, cls in registry.module_dict.items():
        if inspect.isclass(cls) and layer == _layer(cls):
            yield name


def _layer(cls: type) -> str | None:
    # The deformable convolutions of mmcv are no subclasses of _ConvNd.
    if issubclass(cls, _ConvNd) or 'Conv2d' in cls.__name__:
        return 'convolution'
    is_own = cls.__module__.startswith('mmnorm.layers.')
    return 'norm' if is_own or issubclass(cls, NORM_BASES) else None
