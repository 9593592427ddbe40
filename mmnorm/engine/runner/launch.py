# Copyright (c) mmnorm contributors. All rights reserved.
"""What tools/train.py and tools/test.py share: from a command to a Runner."""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.dist import init_dist
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmnorm.config.checks import norm_error

from .atomic_runner import AtomicRunner
from .channels_last import use_channels_last

# Where a launcher writes what torch reads under the names of the first.
ENVIRONMENT = {
    'pytorch': ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_SIZE',
    ),
}
STARTERS = dict(pytorch='torchrun', slurm='srun', mpi='mpirun of Open MPI')


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
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # Before anything can fail, which one process is to say.
    sources = ENVIRONMENT.get(args.launcher, ())
    for name, source in zip(ENVIRONMENT['pytorch'], sources, strict=False):
        if source not in os.environ:
            fail(
                f'--launcher {args.launcher} finds no {source} in the '
                f'environment: start it with {STARTERS[args.launcher]}'
            )
        os.environ[name] = os.environ[source]
    return args


def find_config(name: str) -> Path:
    """The file of a config: a path, or mmdet::... or mmseg::..."""
    package, _, inner = name.rpartition('::')
    path = Path(inner)
    if package:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            fail(f'config {name!r}: there is no package {package!r} here')
        path = Path(spec.submodule_search_locations[0], '.mim/configs', inner)
    if not path.is_file():
        fail(f'config {name!r} does not exist or is not a file')
    return path


def read_config(args: argparse.Namespace) -> Config:
    """The config a command names, with what the command overrides."""
    path = find_config(args.config)
    cfg = Config.fromfile(path)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / path.stem)
    if args.channels_last:
        cfg.channels_last = True
    return cfg


def build_runner(cfg: Config) -> Runner:
    """A runner for this machine, with or without GPUs."""
    signal.signal(signal.SIGTERM, _end)
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(
            f'work_dir {cfg.work_dir!r} cannot be made ({error.strerror}): '
            'name another with --work-dir'
        )
    if not torch.cuda.is_available():
        _fit_to_cpu(cfg)
    if cfg.launcher != 'none':
        _start_processes(cfg)
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if checkpoint.get('max_keep_ckpts') == 1:
        # mmengine would remove the only one before it writes the next.
        checkpoint.max_keep_ckpts = 2
    try:
        if 'runner_type' in cfg:
            runner = RUNNERS.build(cfg)
        else:
            runner = AtomicRunner.from_cfg(cfg)
    except (TypeError, ValueError, KeyError) as error:
        sentence = norm_error(error)
        if sentence is None:
            raise
        fail(sentence)
    if cfg.get('channels_last'):
        use_channels_last(runner.model)
    return runner


def leave_group() -> None:
    """Let processes that are done stop communicating, together."""
    # Left to the exit of the interpreter, gloo's threads can abort it.
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def fail(sentence: str) -> NoReturn:
    """End the program with one sentence, said by one process."""
    if os.environ.get('RANK', '0') == '0':
        print(f'{Path(sys.argv[0]).name}: error: {sentence}', file=sys.stderr)
    sys.exit(1)


def _end(*_: object) -> NoReturn:
    print(
        f'{Path(sys.argv[0]).name}: ended by SIGTERM; --resume goes on from '
        'the last checkpoint',
        file=sys.stderr,
        flush=True,
    )
    sys.exit(128 + signal.SIGTERM)


def _start_processes(cfg: Config) -> None:
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    _name_master(cfg.launcher, dist_cfg.get('port', 29500))
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **dist_cfg)
    else:
        # mmengine would choose a GPU for each process and fail.
        seconds = dist_cfg.get('timeout')
        timeout = None if seconds is None else timedelta(seconds=seconds)
        dist.init_process_group('gloo', timeout=timeout)
    # Processes with layers of other sizes would wait for each other for
    # ever, or add numbers that do not belong together.
    texts: list[str] = [''] * dist.get_world_size()
    dist.all_gather_object(texts, cfg.pretty_text)
    for rank, text in enumerate(texts):
        if text != texts[0]:
            pairs = zip_longest(texts[0].split('\n'), text.split('\n'))
            first, other = next(p for p in pairs if p[0] != p[1])
            leave_group()  # the first to leave would break the others
            fail(
                f'processes 0 and {rank} were given different configs: '
                f'{first!r} and {other!r}'
            )


def _name_master(launcher: str, port: int) -> None:
    # What torchrun does by itself, and srun and mpirun leave to us.
    os.environ.setdefault('MASTER_PORT', str(port))
    if 'MASTER_ADDR' in os.environ:
        return
    nodes = []
    if launcher == 'slurm':
        of = os.environ.get('SLURM_NODELIST', '')
        with suppress(OSError):  # no scontrol here
            shown = subprocess.run(
                ['scontrol', 'show', 'hostnames', of],
                capture_output=True,
                text=True,
            )
            nodes = shown.stdout.split()
    if not nodes:
        fail(
            f'--launcher {launcher} finds no MASTER_ADDR in the environment: '
            'set it to the address of the node that process 0 is on'
        )
    os.environ['MASTER_ADDR'] = nodes[0]


def _fit_to_cpu(cfg: Config) -> None:
    # Besides device_ids, what mmengine says where the config says nothing.
    wrapper = dict(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = wrapper | (cfg.get('model_wrapper_cfg') or {})
