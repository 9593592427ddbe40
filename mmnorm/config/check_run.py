# Copyright (c) mmnorm contributors. All rights reserved.
"""Check in a second what a config needs for a run, before the run starts.

The thorough check of all data is ``check_data``.
"""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from .layer_types import layer_type_error


def run_error(
    cfg: Config, keys: tuple[str, ...], splits: tuple[str, ...]
) -> str | None:
    """Return in one sentence why a run cannot start, or None.

    Args:
        cfg: The config.
        keys: Keys that the run needs.
        splits: The data loaders of the run: 'train', 'val' or 'test'.
    """
    for key in keys:
        value = cfg.get(key)
        if value is None:
            return f'the config has no {key}'
        if not isinstance(value, (dict, list)):
            return f'{key} is {value!r}: set it to a dict'
    return layer_type_error(cfg) or _data_error(cfg, splits)


def _data_error(cfg: Config, splits: tuple[str, ...]) -> str | None:
    for split in splits:
        for dataset in _datasets(cfg.get(f'{split}_dataloader')):
            root = dataset.get('data_root') or ''
            if _is_remote(dataset):
                continue
            if not dataset.get('ann_file'):
                # Some data sets list their images themselves.
                if root and not Path(root).is_dir():
                    return (
                        f'{split}_dataloader.dataset.data_root: {root!r} is '
                        'not a folder: prepare the dataset, or set data_root '
                        'to where it is'
                    )
                continue
            path = Path(root) / dataset['ann_file']
            key = f'{split}_dataloader.dataset.ann_file'
            if not path.is_file():
                return (
                    f'{key}: {str(path)!r} does not exist: prepare the '
                    'dataset, or set data_root and ann_file to where it is'
                )
            if path.suffix == '.json' and not _looks_like_json(path):
                size = path.stat().st_size
                return (
                    f'{key}: {str(path)!r} ({size} bytes) is not a JSON '
                    'object: it is empty, truncated or another file; write '
                    'the file again'
                )
    return None


def _is_remote(dataset: dict) -> bool:
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    names = dataset.get('data_root'), dataset.get('ann_file')
    return backend != 'local' or any('://' in (name or '') for name in names)


def _datasets(node: object) -> Iterator[dict]:
    # Wrappers such as RepeatDataset and ConcatDataset hold data sets.
    if isinstance(node, dict):
        if 'ann_file' in node or 'data_root' in node:
            yield node
        for value in node.values():
            yield from _datasets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _datasets(value)


def _looks_like_json(path: Path) -> bool:
    # The first and last bytes show that a file is truncated, and the run
    # itself reads the file once more.
    with path.open('rb') as file:
        head = file.read(64).lstrip()
        file.seek(-min(64, path.stat().st_size), 2)
        tail = file.read().rstrip()
    return head.startswith(b'{') and tail.endswith(b'}')
