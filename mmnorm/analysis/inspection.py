# Copyright (c) mmnorm contributors. All rights reserved.
"""Inspect the norms of a config."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.optim import Optimizer

from mmnorm.config.build_model import build_model
from mmnorm.config.errors import config_errors

from .level_calls import level_calls
from .mistakes import Mistake, find_mistakes
from .norm_states import NormState, norm_states
from .subject import part_of


class Inspection(NamedTuple):
    """The norms of a config, and known mistakes with them.

    Attributes:
        states: The state of each norm, as a training has it.
        parts: The part of the model that has each norm.
        mistakes: The known mistakes.
    """

    states: list[NormState]
    parts: list[str]
    mistakes: list[Mistake]


def inspect_norms(
    model: nn.Module, cfg: Config, weights: dict[str, Tensor] | None = None
) -> Inspection:
    """Inspect the norms of a model with its config.

    Args:
        model: The model of the config. It is put into training mode.
        cfg: The config.
        weights: The state dict of the checkpoint that is loaded, if any.

    Raises:
        ConfigError: If the optimizer of the config cannot be built.
    """
    mistakes = find_mistakes(model, cfg, weights, level_calls(model))
    # find_mistakes leaves the model in training mode.
    states = norm_states(model, _optimizer(model, cfg))
    parts = [part_of(state.name, cfg) for state in states]
    return Inspection(states, parts, mistakes)


def initialized_model(cfg: Config) -> nn.Module:
    """Build a model, and initialize the parts that start from no file.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If the model of the config cannot be built.
    """
    model = build_model(cfg)
    for module in model.modules():
        # mmengine would read the file, or download it.
        init_cfg = getattr(module, 'init_cfg', None)
        if isinstance(init_cfg, dict) and 'checkpoint' in init_cfg:
            module.init_cfg = None
    for child in model.children():
        if hasattr(child, 'init_weights'):
            with _without_log():
                child.init_weights()
    return model


def _optimizer(model: nn.Module, cfg: Config) -> Optimizer | None:
    if not isinstance(cfg.get('optim_wrapper'), dict):
        return None
    # The rest of a step, as mixed precision, may need a GPU.
    keys = ('optimizer', 'paramwise_cfg', 'constructor')
    wrapper = {k: cfg.optim_wrapper[k] for k in keys if k in cfg.optim_wrapper}
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope'))
    with scope, config_errors(), _without_log():
        return build_optim_wrapper(model, wrapper).optimizer


@contextmanager
def _without_log() -> Iterator[None]:
    # mmengine logs a line per parameter, to standard output, and a warning
    # per frozen one.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
