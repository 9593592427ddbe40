# Copyright (c) mmnorm contributors. All rights reserved.
"""Config files: find and read them."""

import traceback
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from .errors import ConfigError, one_line, raised_in
from .options import override

# Code that raises an exception for a file that is no config.
READERS = (
    'mmengine/config/',
    'mmengine/fileio/',
    'mmengine/utils/',
    '/ast.py',
    'json/',
    'yaml/',
    '<frozen codecs>',
)
# Functions of mmengine that run a config.
EVALUATORS = ('_file2dict', '_parse_lazy_import')


def find_config(name: str) -> Path:
    """Return the file of a config.

    Args:
        name: A path, or ``mmdet::...``, ``mmseg::...`` or
            ``mmpretrain::...``.

    Raises:
        ConfigError: If there is no such file.
    """
    package, _, inner = name.rpartition('::')
    path = Path(inner)
    if package:
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(
                f'config {name!r}: the package {package!r} is not installed'
            )
        path = Path(spec.submodule_search_locations[0], '.mim/configs', inner)
    if not path.is_file():
        raise ConfigError(f'config {name!r} does not exist or is not a file')
    return path


def read_config(name: str, options: dict | None = None) -> Config:
    """Read a config and override settings of it.

    Args:
        name: A path, or ``mmdet::...``, ``mmseg::...`` or
            ``mmpretrain::...``.
        options: Values by dotted keys.

    Raises:
        ConfigError: If there is no such config, the file cannot be read as a
            config, or an option does not fit it.
    """
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        reason = _read_error(error)
        if reason is None:
            raise
        raise ConfigError(
            f'config {name!r} cannot be read: {reason}'
        ) from error
    override(cfg, options or {})
    return cfg


def _read_error(error: Exception) -> str | None:
    # None for a defect in code that the config calls or imports.
    if isinstance(error, ImportError) and error.__cause__ is not None:
        return _import_error(error.__cause__)
    frames = traceback.extract_tb(error.__traceback__)
    line = None
    for caller, frame in zip(frames, frames[1:], strict=False):
        if caller.name in EVALUATORS and frame.name == '<module>':
            line = frame
    if line is not frames[-1] and not raised_in(error, *READERS):
        return None
    reason = one_line(error)
    if line is None:
        return reason
    return (
        f'line {line.lineno} of {line.filename!r} raises '
        f'{type(error).__name__}: {reason}'
    )


def _import_error(error: BaseException) -> str | None:
    # mmengine raises this error in place of the one that the import raised.
    original = error.__context__ or error
    frames = traceback.extract_tb(original.__traceback__)
    importers = ('importlib', 'mmengine')
    if all(any(i in f.filename for i in importers) for f in frames):
        return f'custom_imports: {original}'
    return None  # the module is there, and code in it fails
