# Copyright (c) mmnorm contributors. All rights reserved.
"""Put a norm into a detector of mmdet or a segmenter of mmseg.

Writes a config that inherits another, builds its model and counts the norms.
"""

import argparse
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmnorm import layers
from mmnorm.analysis import level_calls, norm_states
from mmnorm.checkpoints.checks import existing_error
from mmnorm.config.apply_norm import NORMS, apply_norm
from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import find_config, read_config
from mmnorm.config.model_parts import find_parts
from mmnorm.config.second_activations import second_activations
from mmnorm.config.write_config import config_text
from mmnorm.engine.runner.launch import fail


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
    parser.add_argument('--batch-size', type=int, help='images per GPU')
    parser.add_argument('--gpus', type=int, help='number of GPUs')
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """End with a sentence if an argument is wrong."""
    if args.norm not in NORMS:
        fail(f'--norm {args.norm!r} is not one of {", ".join(NORMS)}')
    options = {'--batch-size': args.batch_size, '--gpus': args.gpus}
    for option, number in options.items():
        if number is not None and number < 1:
            fail(f'{option} is {number}: give 1 or more')
    if not args.out.endswith('.py'):
        fail(f'{args.out!r} has to end in .py')
    if error := existing_error(args.out):
        fail(error)


def write(
    args: argparse.Namespace, over_levels: Collection[str] = ()
) -> list[str]:
    """Write the config, and return a report in lines.

    Args:
        args: The arguments of the command.
        over_levels: Parts of the model whose norms serve all levels of a
            pyramid.
    """
    base, out = args.base, Path(args.out)
    path = find_config(base)
    if path == Path(base) and not path.is_absolute():
        base = Path(os.path.relpath(path, out.parent)).as_posix()
    cfg = read_config(args.base)
    if not isinstance(cfg.get('model'), dict):
        fail(f'config {args.base!r} has no model')
    try:
        statements, report = apply_norm(
            cfg,
            base,
            args.norm,
            args.ws,
            args.batch_size,
            args.gpus,
            over_levels,
        )
    except ConfigError as error:
        fail(f'config {args.base!r}: {error}')
    try:
        out.write_text(config_text(base, statements))
    except OSError as error:
        fail(f'{args.out!r} cannot be written: {error.strerror}')
    return report


def build(path: str) -> nn.Module:
    """Build the model of the new config, or end with a sentence."""
    try:
        return build_model(read_config(path))
    except ConfigError as error:
        fail(f'{path!r} is written, but does not build: {error}')


def shares_statistics(model: nn.Module) -> bool:
    """Tell whether levels of a pyramid share running statistics of a head."""
    levels = level_calls(model)
    model.train()
    moving = [state.name for state in norm_states(model) if state.moves]
    return any(levels.get(name, 1) > 1 for name in moving)


def other_norms(model: nn.Module, types: tuple[type, ...]) -> Iterator[str]:
    """Yield the names of batch, group and instance norms of other types."""
    own = {
        id(inner)
        for module in model.modules()
        if isinstance(module, types)
        for inner in module.modules()  # BCN holds a batch norm
    }
    for name, module in model.named_modules():
        is_norm = isinstance(module, (_BatchNorm, _InstanceNorm, nn.GroupNorm))
        if is_norm and id(module) not in own:
            yield name


def main() -> None:
    args = parse_args()
    check(args)
    try:
        report = write(args)
        model = build(args.out)
        over_levels = ['bbox_head'] if shares_statistics(model) else []
        if over_levels:
            report = write(args, over_levels)
            model = build(args.out)
    except ConfigError as error:
        fail(str(error))
    print('\n'.join(report))

    layer = getattr(layers, args.norm)
    counts = []
    for path, _ in find_parts(read_config(args.out).model):
        modules = model.get_submodule(path).modules()
        number = sum(isinstance(module, layer) for module in modules)
        counts.append(f'{number} in {path}')
    print(f'mmnorm.{args.norm} layers: {", ".join(counts)}')
    if warning := second_activations(model):
        print(f'warning: {warning}')
    meant = (layer, layers.GN) if over_levels else (layer,)
    others = list(other_norms(model, meant))
    if others:
        fail(
            f'{args.out!r} is written, but {len(others)} norms of the model '
            f'did not change, the first of them {others[0]}'
        )


if __name__ == '__main__':
    main()
