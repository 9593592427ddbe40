# Copyright (c) mmnorm contributors. All rights reserved.
"""Find what is wrong with the input of a run, and say it in one sentence.

Each function returns the sentence, or None where it sees nothing wrong.
"""

import inspect
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmnorm.registry import NORM_LAYERS


def data_error(cfg: Config, modes: tuple[str, ...]) -> str | None:
    """Look at the annotation files that a config names.

    Args:
        cfg: The config.
        modes: The data loaders to look at: 'train', 'val' or 'test'.
    """
    for mode in modes:
        for dataset in _datasets(cfg.get(f'{mode}_dataloader') or {}):
            ann_file = dataset.get('ann_file')
            if not ann_file:
                continue
            path = Path(dataset.get('data_root') or '') / ann_file
            key = f'{mode}_dataloader.dataset.ann_file'
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
                    'it anew'
                )
    return None


def norm_error(error: Exception) -> str | None:
    """Say what is wrong with a ``norm_cfg`` that did not build.

    mmengine wraps the exception of a layer once for every module around it;
    the first one is the one that says something.
    """
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    files = [f.filename for f in traceback.extract_tb(error.__traceback__)]
    places = ('mmcv/cnn/bricks/norm.py', 'mmnorm/layers/')
    if not any(place in file for file in files for place in places):
        return None
    unknown = re.match(
        r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'",
        str(error),
    )
    if unknown and (layer := NORM_LAYERS.get(f'mmnorm.{unknown[1]}')):
        taken = list(inspect.signature(layer).parameters)[1:]
        return (
            f'norm_cfg of type {unknown[1]} does not take {unknown[2]!r}; '
            f'it takes {", ".join(taken)}'
        )
    return str(error).strip('"\'')


def _datasets(node: object) -> Iterator[dict]:
    # Wrappers such as RepeatDataset and ConcatDataset hold others.
    if isinstance(node, dict):
        if 'ann_file' in node:
            yield node
        for value in node.values():
            yield from _datasets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _datasets(value)


def _looks_like_json(path: Path) -> bool:
    # The ends are enough to tell a truncated file, and reading all of COCO
    # twice is not worth it.
    with path.open('rb') as file:
        head = file.read(64).lstrip()
        file.seek(-min(64, path.stat().st_size), 2)
        tail = file.read().rstrip()
    return head.startswith(b'{') and tail.endswith(b'}')
