# Copyright (c) mmnorm contributors. All rights reserved.
"""What tools/train.py and tools/test.py share: from a command to a Runner."""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .check import norm_error


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of mmdet's tools that training and testing share."""
    parser.add_argument(
        '--work-dir', help='where logs, checkpoints and results go'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that override the config, as in '
        'train_cfg.max_epochs=1 optim_wrapper.optimizer.lr=0.01',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started this process',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The config a command names, with what the command overrides."""
    path = Path(args.config)
    if not path.is_file():
        fail(f'config {args.config!r} does not exist or is not a file')
    cfg = Config.fromfile(path)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / path.stem)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """A runner for this machine, with or without GPUs."""
    if not torch.cuda.is_available():
        _fit_to_cpu(cfg)
    try:
        if 'runner_type' in cfg:
            return RUNNERS.build(cfg)
        return Runner.from_cfg(cfg)
    except (TypeError, ValueError, KeyError) as error:
        sentence = norm_error(error)
        if sentence is None:
            raise
        fail(sentence)


def fail(sentence: str) -> NoReturn:
    """End the program with one sentence, said by one process."""
    if os.environ.get('RANK', '0') == '0':
        print(f'{Path(sys.argv[0]).name}: error: {sentence}', file=sys.stderr)
    sys.exit(1)


def _fit_to_cpu(cfg: Config) -> None:
    # mmengine would choose a GPU for each process and fail.
    if cfg.launcher == 'pytorch' and not dist.is_initialized():
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        timeout = None if seconds is None else timedelta(seconds=seconds)
        dist.init_process_group('gloo', timeout=timeout)
    # Besides device_ids, what mmengine says where the config says nothing.
    wrapper = dict(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = wrapper | (cfg.get('model_wrapper_cfg') or {})
