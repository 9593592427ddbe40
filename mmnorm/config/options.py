# Copyright (c) mmnorm contributors. All rights reserved.
"""Settings of a command that override a config, ``--cfg-options``."""

import argparse
import inspect
from collections.abc import Sequence

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from .errors import ConfigError
from .registered import nearest

# Keys that are read from a config, besides the arguments of a runner.
MORE_KEYS = (
    'activation_checkpointing',
    'channels_last',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


class OptionAction(DictAction):
    """An argparse action that collects KEY=VALUE settings in a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add settings to the dict, or end the program with a sentence."""
        for setting in values:
            try:
                super().__call__(parser, namespace, [setting], option_string)
            except (AssertionError, ValueError):  # brackets, no '='
                parser.error(
                    f'{option_string} {setting!r} is not of the form '
                    'KEY=VALUE with balanced brackets'
                )


def override(cfg: Config, options: dict) -> None:
    """Set values of a config by dotted keys.

    Args:
        cfg: The config.
        options: Values by dotted keys.

    Raises:
        ConfigError: If a key does not fit the config.
    """
    for option in options:
        if error := _option_error(cfg, option, options):
            raise ConfigError(f'--cfg-options {option}: {error}')
    cfg.merge_from_dict(options)


def _option_error(cfg: Config, option: str, options: dict) -> str | None:
    # Nothing ever reads an unknown key on the first level. On every other
    # level a key may be new, because a class takes or refuses it.
    first, *keys = option.split('.')
    known = {*cfg, *inspect.signature(Runner).parameters, *MORE_KEYS}
    if first not in known:
        return f'no config has {first!r}: set {nearest(first, known)}'
    node, path = cfg.get(first, {}), first
    for key in keys:
        if options.get(f'{path}._delete_'):
            return None
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return f'{path} is a list of {len(node)} and has no {key!r}'
            if f'{path}.{key}' == option:
                return f'{path} is a list: set the whole list'
            node = node[int(key)]
        elif isinstance(node, dict):
            if key not in node:
                return None
            node = node[key]
        else:
            return (
                f'{path} is {node!r} and has no {key!r}: add '
                f'{path}._delete_=True to replace it'
            )
        path = f'{path}.{key}'
    return None
