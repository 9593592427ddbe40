# Copyright (c) mmnorm contributors. All rights reserved.
"""The scope ``mmnorm``, and the bare names that importing mmnorm takes.

``type='mmnorm.BCN'`` in a config of mmdet or mmseg needs no import, because
mmengine finds this file by its name. The bare names ``GN``, ``BCN`` and
``SN`` go to the root registry, where every scope finds them.
"""

from importlib import import_module
from importlib.util import find_spec

from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=ROOT_MODELS, scope='mmnorm', locations=['mmnorm.layers']
)
NORM_LAYERS = MODELS
HOOKS = Registry(
    'hook',
    parent=ROOT_HOOKS,
    scope='mmnorm',
    locations=['mmnorm.engine.hooks'],
)
TRANSFORMS = Registry(
    'transform',
    parent=ROOT_TRANSFORMS,
    scope='mmnorm',
    locations=['mmnorm.transforms'],
)

# mmcv registers its own GN when it is imported, and raises an error if the
# name is taken. For this reason mmcv is imported first, and the layers of
# this package replace its entry.
if find_spec('mmcv') is not None:
    import_module('mmcv.cnn')


def register_bare_names() -> None:
    """Let ``GN``, ``BCN`` and ``SN`` without a scope mean this package's."""
    for name in ('GN', 'BCN', 'SN'):
        layer = MODELS.get(f'mmnorm.{name}')
        ROOT_MODELS.register_module(name=name, module=layer, force=True)
