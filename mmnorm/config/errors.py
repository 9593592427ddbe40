# Copyright (c) mmnorm contributors. All rights reserved.
"""Tell a mistake in a config from a defect in code.

A user who made a mistake needs one sentence; a user who meets a defect needs
the traceback. The code that checks a config raises the exception itself, and
therefore the last frame of the traceback tells the two apart.
"""

import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from torch import nn

NORM, CONV = 'mmcv/cnn/bricks/norm.py', 'mmcv/cnn/bricks/conv.py'
BUILDERS = ('mmengine/registry/', 'mmengine/runner/runner.py', NORM, CONV)
UNKNOWN_ARGUMENT = re.compile(
    r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'"
)


class ConfigError(ValueError):
    """A mistake in a config, described in one sentence."""


@contextmanager
def config_errors() -> Iterator[None]:
    """Raise a ConfigError for an exception that tells of a mistake.

    Every other exception passes unchanged.

    Raises:
        ConfigError: If code in the block builds from a config with unknown
            types, unknown arguments or values that a layer refuses.
    """
    try:
        yield
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise ConfigError(sentence) from error


def explain(error: Exception) -> str | None:
    """Return the mistake that an exception tells of, or None for a defect.

    Args:
        error: An exception that a build from a config has raised.
    """
    by_builder = raised_in(error, *BUILDERS)
    unknown = UNKNOWN_ARGUMENT.match(str(error))
    if isinstance(error, TypeError) and unknown:
        name, argument = unknown.groups()
        cls = _refusing_class(name, error, by_builder)
        if cls is not None:
            return _unknown_argument(cls, argument, error)
        return f'{name} does not take {argument!r}' if by_builder else None
    if isinstance(error, ValueError) and raised_in(error, 'mmnorm/layers/'):
        # The layers name the key of an argument that they refuse.
        text = str(error)
        return text if text.startswith(('norm_cfg.', 'conv_cfg.')) else None
    if isinstance(error, (KeyError, TypeError, ValueError)) and by_builder:
        return one_line(error)
    return None


def raised_in(error: BaseException, *files: str) -> bool:
    """Return whether an exception was raised by code in the given files.

    Args:
        error: A caught exception.
        files: Parts of paths, with ``/`` between folders.
    """
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return any(file in Path(last).as_posix() for file in files)


def one_line(error: BaseException) -> str:
    """Return the message of an exception as one line of limited length."""
    text = str(error)
    if isinstance(error, SyntaxError):
        text = f'{error.msg} in line {error.lineno}'
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
        if ' ' not in text:
            text = f'the key {text!r} is missing'
    text, *_ = text.split('. Please check whether the value of ')
    return shorten(text, 250) or type(error).__name__


def _refusing_class(
    base: str, error: TypeError, by_builder: bool
) -> type | None:
    # Python names the class that defines __init__, which may be a base of
    # the class in the config. A builder calls the class in the config. Many
    # classes of mmdet and mmseg hand unknown keywords to a base instead.
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    values = frame.f_locals
    called = values.values() if by_builder else [type(values.get('self'))]
    for cls in filter(inspect.isclass, called):
        if base in (each.__name__ for each in cls.__mro__):
            return cls
    return None


def _unknown_argument(cls: type, argument: str, error: TypeError) -> str:
    if not cls.__module__.startswith('mmnorm.layers.'):
        return f'{cls.__name__} does not take {argument!r}'
    key = 'conv_cfg' if raised_in(error, CONV) else 'norm_cfg'
    # The network gives the arguments that every layer has.
    given = {'num_features', *inspect.signature(nn.Conv2d).parameters}
    arguments = [
        a for a in inspect.signature(cls).parameters if a not in given
    ]
    return (
        f'{key} of type {cls.__name__} does not take {argument!r}; it takes '
        f'{", ".join(arguments)}'
    )
