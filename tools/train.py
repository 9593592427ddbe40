# Copyright (c) mmnorm contributors. All rights reserved.
"""Train a model of mmdet, mmseg or mmpretrain from a config."""

import argparse
import os

# Threads of torch that wait for each other must not spin for long: a busy
# machine would starve the thread that they wait for. libgomp reads this once.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error
from mmnorm.config.check_run import run_error
from mmnorm.config.errors import ConfigError, config_errors
from mmnorm.engine.runner.atomic_runner import CheckpointError
from mmnorm.engine.runner.launch import (
    add_common_arguments,
    build_runner,
    fail,
    leave_group,
    parse,
    read_config,
)

KEYS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='a path, or mmdet::..., mmseg::... or mmpretrain::...'
    )
    add_common_arguments(parser)
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision (needs a GPU)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size over '
        'auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--no-fuse',
        action='store_true',
        help='on a GPU, leave each activation to a module of its own, where '
        'the norm before it would compute it in the same pass',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='checkpoint to resume from; without a value, the latest '
        'checkpoint in the work dir',
    )
    return parse(parser)


def argument_error(args: argparse.Namespace, cfg: Config) -> str | None:
    if args.amp and not torch.cuda.is_available():
        return '--amp needs a GPU, and torch finds none: leave --amp out'
    if args.auto_scale_lr and 'base_batch_size' not in (
        cfg.get('auto_scale_lr') or {}
    ):
        return (
            '--auto-scale-lr needs auto_scale_lr.base_batch_size in '
            f'{args.config!r}: the batch size that its learning rate is for'
        )
    return None


def add_hook(cfg: Config, name: str) -> None:
    hooks = cfg.get('custom_hooks') or []
    if all(hook['type'] != name for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type=name)]


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    error = argument_error(args, cfg)
    if error := error or run_error(cfg, KEYS, ('train', 'val')):
        fail(error)

    if torch.cuda.is_available() and not args.no_fuse:
        add_hook(cfg, 'mmnorm.FuseNormActHook')
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        latest = args.resume
        if args.resume == 'auto':
            latest = find_latest_checkpoint(cfg.work_dir)
        # Without a checkpoint yet, the training starts as the config says.
        cfg.resume = latest is not None
        if cfg.resume:
            cfg.load_from = latest

    start = cfg.get('load_from')
    if cfg.get('resume') and start is None:
        start = find_latest_checkpoint(cfg.work_dir)
    if start is not None:
        resume = cfg.get('resume', False)
        if error := checkpoint_error(start, to_resume=resume):
            fail(error)

    try:
        with config_errors():
            build_runner(cfg).train()
    except (CheckpointError, ConfigError) as error:
        fail(str(error))
    leave_group()


if __name__ == '__main__':
    main()
