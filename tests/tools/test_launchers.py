# Copyright (c) mmnorm contributors. All rights reserved.
"""Two processes train to the same weights with every launcher."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG, ROOT
from tests.ports import free_port

# The limit ends a hang; a busy machine must not reach the limit.
SECONDS = 600
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$RECORD"
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && export SLURM_NTASKS=${1#*=}
    shift
done
export SLURM_NODELIST='node[1-2]'
for ((i = 0; i < SLURM_NTASKS; i++)); do
    SLURM_PROCID=$i SLURM_LOCALID=$i "$@" &
    started+=($!)
done
for process in "${started[@]}"; do wait "$process" || exit 1; done
"""
SCONTROL = """#!/usr/bin/env bash
[ "$*" = 'show hostnames node[1-2]' ] && printf '127.0.0.1\\nnode2\\n'
"""


@pytest.fixture(scope='module')
def settings(options) -> list[str]:
    """Return options for four steps of SGD; AdamW would amplify rounding."""
    return [
        *options,
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=2',
        'optim_wrapper.optimizer.type=SGD',
    ]


@pytest.fixture(scope='module')
def start(settings):
    """Start commands together, and return their outputs."""

    def run(commands: list[tuple[dict, list]]) -> list[str]:
        processes = [
            subprocess.Popen(
                [*map(str, command), *settings],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
                env=os.environ | {'PYTHON': sys.executable} | env,
            )
            for env, command in commands
        ]
        try:
            outputs = [p.communicate(timeout=SECONDS)[0] for p in processes]
        finally:
            for process in processes:
                process.kill()
        assert not any(p.returncode for p in processes), outputs
        assert 'GPU number: 2' in outputs[0]
        assert '[4/4]' in outputs[0]
        return outputs

    return run


@pytest.fixture(scope='module')
def expected(start, tmp_path_factory) -> Path:
    """Train with dist_train.sh on one machine, and return the work dir."""
    work_dir = tmp_path_factory.mktemp('expected')
    command = [ROOT / 'tools/dist_train.sh', CONFIG, 2, '--work-dir', work_dir]
    start([({'PORT': free_port()}, command)])
    return work_dir


def assert_same_weights(*work_dirs: Path) -> None:
    actual, expected = (
        torch.load(work_dir / 'epoch_1.pth', weights_only=True)['state_dict']
        for work_dir in work_dirs
    )
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


def test_two_nodes(start, expected, tmp_path):
    nodes = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=free_port())
    dist_train = ROOT / 'tools/dist_train.sh'
    command = [dist_train, CONFIG, 1, '--work-dir', tmp_path]
    start([(nodes | {'NODE_RANK': str(r)}, command) for r in range(2)])
    assert_same_weights(tmp_path, expected)


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """Return an environment in which srun starts its processes here."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, text in (('srun', SRUN), ('scontrol', SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return dict(
        PATH=f'{folder}:{os.environ["PATH"]}', RECORD=str(tmp_path / 'record')
    )


def test_slurm(start, slurm, expected, tmp_path):
    slurm |= dict(GPUS='2', MASTER_PORT=free_port())
    slurm |= dict(SRUN_ARGS='--mem=8G --quiet')
    command = [ROOT / 'tools/slurm_train.sh', 'gpus', 'a job', CONFIG]
    start([(slurm, [*command, tmp_path])])
    assert_same_weights(tmp_path, expected)
    command = (tmp_path / 'record').read_text().splitlines()
    assert command[:13] == [
        '--partition=gpus',
        '--job-name=a job',
        '--gres=gpu:2',
        '--ntasks=2',
        '--ntasks-per-node=2',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--mem=8G',
        '--quiet',
        sys.executable,
        '-u',
        str(ROOT / 'tools/train.py'),
        str(CONFIG),
    ]
    assert command[13:15] == ['--work-dir', str(tmp_path)]
    assert command[-2:] == ['--launcher', 'slurm']


def test_slurm_test(slurm, tmp_path):
    checkpoint = tmp_path / 'epoch_1.pth'
    checkpoint.touch()
    slurm |= dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='2')
    slurm_test = ROOT / 'tools/slurm_test.sh'
    command = [slurm_test, 'gpus', 'job', CONFIG, checkpoint]
    subprocess.run(
        [*map(str, command), '--show'],
        cwd=ROOT,
        env=os.environ | slurm | {'PYTHON': 'true'},
        check=True,
    )
    assert (tmp_path / 'record').read_text().split() == [
        '--partition=gpus',
        '--job-name=job',
        '--gres=gpu:4',
        '--ntasks=16',
        '--ntasks-per-node=4',
        '--cpus-per-task=2',
        '--kill-on-bad-exit=1',
        'true',
        '-u',
        str(ROOT / 'tools/test.py'),
        str(CONFIG),
        str(checkpoint),
        '--show',
        '--launcher',
        'slurm',
    ]


def test_open_mpi(start, expected, tmp_path):
    command = [sys.executable, ROOT / 'tools/train.py', CONFIG]
    command += ['--launcher=mpi', '--work-dir', tmp_path]
    port = free_port()
    environments = [
        dict(
            OMPI_COMM_WORLD_RANK=str(rank),
            OMPI_COMM_WORLD_LOCAL_RANK=str(rank),
            OMPI_COMM_WORLD_SIZE='2',
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port,
        )
        for rank in range(2)
    ]
    start([(environment, command) for environment in environments])
    assert_same_weights(tmp_path, expected)


def test_channels_last_training(start, expected, tmp_path):
    command = [ROOT / 'tools/dist_train.sh', CONFIG, 2]
    command += ['--channels-last', '--work-dir', tmp_path]
    output, *_ = start([({'PORT': free_port()}, command)])
    assert 'channels_last = True' in output
    assert 'Grad strides do not match' not in output
    losses = {}
    for work_dir in (expected, tmp_path):
        log = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
        steps = [json.loads(line) for line in log.splitlines()]
        losses[work_dir] = [(s['loss'], s['grad_norm']) for s in steps]
    assert losses[tmp_path] != losses[expected]
    for actual, wanted in zip(*losses.values(), strict=True):
        # Rounding decides which of two similar proposals is sampled.
        assert actual == pytest.approx(wanted, rel=2e-2)
    first = losses[tmp_path][0]
    assert first == pytest.approx(losses[expected][0], rel=1e-3)


def test_channels_last_testing(tool, options, expected, tmp_path):
    scores = []
    for extra in ([], ['--channels-last']):
        out = tmp_path / f'{len(scores)}.pkl'
        command = ['test.py', CONFIG, expected / 'epoch_1.pth', *extra]
        command += ['--work-dir', tmp_path, '--out', out, *options]
        result = tool(*command)
        assert result.returncode == 0, result.stderr
        images = pickle.loads(out.read_bytes())
        scores.append([image['pred_instances']['scores'] for image in images])
    for plain, channels_last in zip(*scores, strict=True):
        assert len(plain) > 0
        torch.testing.assert_close(channels_last, plain, rtol=0, atol=1e-4)
