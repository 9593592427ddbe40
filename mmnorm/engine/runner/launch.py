# Copyright (c) mmnorm contributors. All rights reserved.
"""From a command line to a Runner, for tools/train.py and tools/test.py."""

import argparse
import gc
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmnorm.config import files
from mmnorm.config.errors import ConfigError
from mmnorm.config.options import OptionAction
from mmnorm.config.second_activations import second_activations

from .atomic_runner import AtomicRunner
from .channels_last import use_channels_last
from .threads import set_num_threads

# Each launcher sets its own variables, and torch reads those of 'pytorch'.
ENVIRONMENT = {
    'pytorch': ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_SIZE',
    ),
}
LAUNCH_COMMANDS = dict(
    pytorch='torchrun', slurm='srun', mpi='mpirun of Open MPI'
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of mmdet's tools that training and testing share."""
    parser.add_argument(
        '--work-dir', help='where logs, checkpoints and results go'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        help='settings that override the config, as in '
        'train_cfg.max_epochs=1 optim_wrapper.optimizer.lr=0.01',
    )
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='compute in the memory format channels_last (NHWC)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', *ENVIRONMENT],
        default='none',
        help='what started this process',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, and give torch the ranks of the launcher."""
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # The rank is set before anything can fail: one process says why.
    sources = ENVIRONMENT.get(args.launcher, ())
    for name, source in zip(ENVIRONMENT['pytorch'], sources, strict=False):
        if source not in os.environ:
            command = LAUNCH_COMMANDS[args.launcher]
            fail(
                f'--launcher {args.launcher} finds no {source} in the '
                f'environment: start this tool with {command}'
            )
        os.environ[name] = os.environ[source]
    return args


def read_config(args: argparse.Namespace) -> Config:
    """Return the config of a command, with the settings of the command."""
    try:
        cfg = files.read_config(args.config, args.cfg_options)
    except ConfigError as error:
        fail(str(error))
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)
    if args.channels_last:
        cfg.channels_last = True
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build a runner for this machine, with or without GPUs."""
    signal.signal(signal.SIGTERM, _end_on_sigterm)
    set_num_threads()
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(
            f'work_dir {cfg.work_dir!r} cannot be made ({error.strerror}): '
            'name another folder with --work-dir'
        )
    if not torch.cuda.is_available():
        _fit_to_cpu(cfg)
    if cfg.launcher != 'none':
        _start_processes(cfg)
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if checkpoint.get('type') == 'CheckpointHook':
        checkpoint.type = 'mmnorm.CheckpointHook'
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = AtomicRunner.from_cfg(cfg)
    if warning := second_activations(runner.model):
        runner.logger.warning(warning)
    if cfg.get('channels_last'):
        use_channels_last(runner.model)
    return runner


def leave_group() -> None:
    """Wait for all processes, and leave the process group together.

    The caller holds no runner any more: a model of DistributedDataParallel
    that dies after the group would wait for a thread of gloo, and the thread
    for the interpreter.
    """
    # At the exit of the interpreter, the threads of gloo could abort it.
    if dist.is_initialized():
        gc.collect()  # a runner refers to itself
        dist.barrier()
        dist.destroy_process_group()


def fail(sentence: str) -> NoReturn:
    """Print one sentence in one process per node, and end the program."""
    if os.environ.get('LOCAL_RANK', '0') == '0':
        print(f'{Path(sys.argv[0]).name}: error: {sentence}', file=sys.stderr)
    sys.exit(1)


def _end_on_sigterm(*_: object) -> NoReturn:
    print(
        f'{Path(sys.argv[0]).name}: ended by SIGTERM; --resume goes on from '
        'the last checkpoint',
        file=sys.stderr,
        flush=True,
    )
    sys.exit(128 + signal.SIGTERM)


def _start_processes(cfg: Config) -> None:
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    _set_master(cfg.launcher, dist_cfg.get('port', 29500))
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **dist_cfg)
    else:
        # mmengine would choose a GPU for each process, and fail.
        seconds = dist_cfg.get('timeout')
        timeout = None if seconds is None else timedelta(seconds=seconds)
        dist.init_process_group('gloo', timeout=timeout)
    # Processes with layers of different sizes would wait for each other
    # forever, or add numbers that do not belong together.
    texts: list[str] = [''] * dist.get_world_size()
    dist.all_gather_object(texts, cfg.pretty_text)
    for rank, text in enumerate(texts):
        if text != texts[0]:
            pairs = zip_longest(texts[0].split('\n'), text.split('\n'))
            first, other = next(p for p in pairs if p[0] != p[1])
            leave_group()  # a process that leaves early breaks the rest
            fail(
                f'processes 0 and {rank} were given different configs: '
                f'{first!r} and {other!r}'
            )


def _set_master(launcher: str, port: int) -> None:
    # torchrun sets the address of process 0; srun and mpirun do not.
    os.environ.setdefault('MASTER_PORT', str(port))
    if 'MASTER_ADDR' in os.environ:
        return
    nodes = []
    if launcher == 'slurm':
        node_list = os.environ.get('SLURM_NODELIST', '')
        with suppress(OSError):  # scontrol is not installed
            shown = subprocess.run(
                ['scontrol', 'show', 'hostnames', node_list],
                capture_output=True,
                text=True,
            )
            nodes = shown.stdout.split()
    if not nodes:
        fail(
            f'--launcher {launcher} finds no MASTER_ADDR in the environment: '
            'set MASTER_ADDR to the address of the node of process 0'
        )
    os.environ['MASTER_ADDR'] = nodes[0]


def _fit_to_cpu(cfg: Config) -> None:
    # Besides device_ids, these are the defaults of mmengine.
    wrapper = dict(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = wrapper | (cfg.get('model_wrapper_cfg') or {})
