# Copyright (c) mmnorm contributors. All rights reserved.
"""Compute the running statistics of a checkpoint again, on training batches.

Writes a checkpoint of the weights with the new statistics. The batches come
from train_dataloader of the config, with the augmentations of the config.
"""

import argparse
import math
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import weights_to_cpu

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error, existing_error
from mmnorm.checkpoints.files import write_checkpoint
from mmnorm.config.check_run import run_error
from mmnorm.config.errors import ConfigError, config_errors
from mmnorm.engine.runner.launch import (
    add_common_arguments,
    build_runner,
    fail,
    leave_group,
    parse,
    read_config,
)
from mmnorm.precise.exact_statistics import StatisticsChange
from mmnorm.precise.training_batches import recalibrate_on, training_data

KEYS = ('model', 'train_dataloader')
SHOWN = 10
"""Norms that are printed."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='a path, or mmdet::..., mmseg::... or mmpretrain::...'
    )
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--num-batches',
        type=int,
        default=200,
        help='training batches of each process (default: 200)',
    )
    add_common_arguments(parser)
    return parse(parser)


def argument_error(args: argparse.Namespace) -> str | None:
    if args.num_batches < 1:
        return f'--num-batches is {args.num_batches}: give 1 or more'
    if error := existing_error(args.out):
        return error
    if not Path(args.out).parent.is_dir():
        return f'{args.out!r} is in a folder that does not exist: make it'
    return checkpoint_error(args.checkpoint)


def report(changes: dict[str, StatisticsChange]) -> str:
    """Return a text on the layers whose statistics moved most."""

    def distance(name: str) -> float:
        mean, std = changes[name]
        largest = max(mean, std - 1)
        return math.inf if math.isnan(largest) else largest  # no old numbers

    lines = [
        f'new statistics in {len(changes)} norms; the norms whose statistics '
        'moved most, as means over channels:'
    ]
    for name in sorted(changes, key=distance, reverse=True)[:SHOWN]:
        mean, std = changes[name]
        lines.append(
            f'  {name}: mean by {mean:.3f} standard deviations, standard '
            f'deviation by a factor of {std:.3f}'
        )
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    # A config that a resumed training has written says resume=True.
    cfg.resume = False
    error = argument_error(args) or run_error(cfg, KEYS, ('train',))
    if error is not None:
        fail(error)

    recalibrate_checkpoint(cfg, args)
    leave_group()


def recalibrate_checkpoint(cfg: Config, args: argparse.Namespace) -> None:
    """Write the checkpoint with exact running statistics, and a report."""
    try:
        with config_errors():
            runner = build_runner(cfg)
            dataset = training_data(runner)
    except ConfigError as error:
        fail(str(error))
    runner.call_hook('before_run')
    checkpoint = runner.load_checkpoint(args.checkpoint, 'cpu')
    changes = recalibrate_on(dataset, runner, runner.model, args.num_batches)
    if not changes:
        fail(
            f'config {args.config!r} has no norm whose running statistics it '
            'trains; the norms of a backbone with norm_eval=True are frozen'
        )
    if is_main_process():
        print(report(changes))
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        weights = weights_to_cpu(model.state_dict())
        meta = checkpoint.get('meta', {})
        try:
            write_checkpoint({'meta': meta, 'state_dict': weights}, args.out)
        except ValueError as error:
            fail(str(error))
        print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
