# Copyright (c) mmnorm contributors. All rights reserved.
"""Put a norm into a detector of mmdet or a segmenter of mmseg.

Writes a config that inherits another, builds its model and counts the norms.
"""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm import layers
from mmnorm.config.apply_norm import (
    NORMS,
    Source,
    Statement,
    apply_norm,
    find_parts,
)
from mmnorm.config.checks import norm_error
from mmnorm.engine.runner.launch import fail, find_config

WIDTH = 79


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'base', help='config to inherit: a path, or mmdet::... or mmseg::...'
    )
    parser.add_argument('out', help='config to write')
    parser.add_argument('--norm', required=True, help=', '.join(NORMS))
    parser.add_argument(
        '--ws', action='store_true', help='standardize the weights too'
    )
    parser.add_argument('--batch-size', type=int, help='images a GPU')
    parser.add_argument('--gpus', type=int, help='number of GPUs')
    return parser.parse_args()


def read_config(path: Path, name: str) -> Config:
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code, and can raise any
        fail(f'config {name!r} cannot be read: {error}')
    if not isinstance(cfg.get('model'), dict):
        fail(f'config {name!r} has no model')
    return cfg


def layout(source: Source, room: float, indent: str = '') -> str:
    """Lay source out: on one line if it fits, else an item a line."""
    if isinstance(source, str):
        return source
    inner = indent + '    '
    start, end = '[', ']'
    if isinstance(source, tuple):
        member, name = source
        text = layout({'': 'head', **member}, WIDTH - len(inner), inner)
        return f'[\n{inner}{text}\n{inner}for head in {name}\n{indent}]'
    if isinstance(source, dict):
        start, end = 'dict(', ')'
        items = [(f'{k}=' if k else '', v) for k, v in source.items()]
    else:
        items = [('', v) for v in source]
    line = ', '.join(k + layout(v, float('inf'), inner) for k, v in items)
    if len(start + line + end) <= room and '\n' not in line:
        return start + line + end
    lines = (
        f'{inner}{k}{layout(v, WIDTH - 1 - len(inner) - len(k), inner)},\n'
        for k, v in items
    )
    return f'{start}\n{"".join(lines)}{indent}{end}'


def config_text(base: str, statements: list[Statement]) -> str:
    line = f'_base_ = {base!r}'
    if len(line) > WIDTH:  # broken behind the slashes
        pieces = re.findall(r'.{1,70}/|[^/]+/|[^/]+$', base)
        rows = ''.join(f'    {piece!r}\n' for piece in pieces)
        line = f'_base_ = (\n{rows})'
    lines = [line, '']
    if '_delete_' in str(statements):
        lines.append('# _delete_: nothing of the norm of the base stays.')
    for comment, name, source in statements:
        if comment:
            lines.append(f'# {comment}')
        lines.append(f'{name} = {layout(source, WIDTH - 3 - len(name))}')
    return '\n'.join(lines) + '\n'


def build(cfg: Config, name: str) -> nn.Module:
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            return MODELS.build(cfg.model)
    except Exception as error:  # the parts of a model check in any way
        sentence = norm_error(error)
        while (inner := error.__cause__ or error.__context__) is not None:
            error = inner
        fail(f'{name} is written, but does not build: {sentence or error}')


def other_norms(model: nn.Module, layer: type) -> Iterator[str]:
    """Names of the batch, group and instance norms of other types."""
    kinds = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
    own = {
        id(inner)
        for module in model.modules()
        if isinstance(module, layer)
        for inner in module.modules()  # BCN holds a batch norm
    }
    for name, module in model.named_modules():
        if isinstance(module, kinds) and id(module) not in own:
            yield name


def main() -> None:
    args = parse_args()
    if args.norm not in NORMS:
        fail(f'--norm {args.norm!r} is not one of {", ".join(NORMS)}')
    for key in ('batch_size', 'gpus'):
        if getattr(args, key) is not None and getattr(args, key) < 1:
            option = key.replace('_', '-')
            fail(f'--{option} is {getattr(args, key)}: give 1 or more')
    base, out = args.base, Path(args.out)
    path = find_config(base)
    if out.exists():
        fail(f'{args.out!r} is there already: name another file, or remove it')
    if path == Path(base) and not path.is_absolute():
        base = Path(os.path.relpath(path, out.parent)).as_posix()

    cfg = read_config(path, args.base)
    try:
        statements, report = apply_norm(
            cfg, path.stem, args.norm, args.ws, args.batch_size, args.gpus
        )
    except ValueError as error:
        fail(f'config {args.base!r}: {error}')
    try:
        out.write_text(config_text(base, statements))
    except OSError as error:
        fail(f'{args.out!r} cannot be written: {error.strerror}')
    print('\n'.join(report))

    cfg = read_config(out, args.out)
    paths = [path for path, _ in find_parts(cfg.model)]
    model = build(cfg, args.out)
    layer = getattr(layers, args.norm)
    counts = {
        path: sum(
            isinstance(module, layer)
            for module in model.get_submodule(path).modules()
        )
        for path in paths
    }
    print(
        f'mmnorm.{args.norm} layers: '
        + ', '.join(f'{count} in {path}' for path, count in counts.items())
    )
    others = list(other_norms(model, layer))
    if others:
        fail(
            f'{args.out} is written, but {len(others)} norms of the model '
            f'stay what they were, the first of them {others[0]}'
        )


if __name__ == '__main__':
    main()
