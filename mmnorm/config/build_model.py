# Copyright (c) mmnorm contributors. All rights reserved.
"""Build the model of a config."""

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from .errors import ConfigError, config_errors
from .layer_types import layer_type_error


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, with random weights.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If the config has no model, or its model names types,
            arguments or values that do not exist.
    """
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError('the config has no model')
    if error := layer_type_error(cfg):
        raise ConfigError(error)
    scope = cfg.get('default_scope')
    with DefaultScope.overwrite_default_scope(scope), config_errors():
        return MODELS.build(cfg.model)
