# Copyright (c) mmnorm contributors. All rights reserved.
"""Train a detector of mmdet or a segmenter of mmseg from a config."""

import argparse

import torch
from mmengine.runner import find_latest_checkpoint

import mmnorm  # noqa: F401  registers the layers
from mmnorm.checkpoints.checks import checkpoint_error
from mmnorm.config.checks import data_error
from mmnorm.engine.runner.atomic_runner import CheckpointError
from mmnorm.engine.runner.launch import (
    add_common_arguments,
    build_runner,
    fail,
    leave_group,
    parse,
    read_config,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
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
        '--resume',
        nargs='?',
        const='auto',
        help='checkpoint to go on from; without a value, the latest in '
        'the work dir',
    )
    return parse(parser)


def main() -> None:
    args = parse_args()
    cfg = read_config(args)

    if args.amp:
        if not torch.cuda.is_available():
            fail('--amp needs a GPU and this machine shows none: leave it out')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'

    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            fail(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size in '
                f'{args.config}, the batch size its learning rate is for'
            )
        cfg.auto_scale_lr.enable = True

    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume

    start = cfg.get('load_from')
    if cfg.get('resume') and start is None:
        start = find_latest_checkpoint(cfg.work_dir)
    error = data_error(cfg, ('train', 'val'))
    if error is None and start is not None:
        error = checkpoint_error(start, to_resume=cfg.get('resume', False))
    if error is not None:
        fail(error)

    try:
        build_runner(cfg).train()
    except CheckpointError as error:
        fail(str(error))
    leave_group()


if __name__ == '__main__':
    main()
