# Copyright (c) mmnorm contributors. All rights reserved.
"""Trainings of two processes, killed, misconfigured, or on a full disk."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

import mmnorm  # noqa: F401  names what a checkpoint may hold
from tests.paths import CONFIG, ROOT
from tests.ports import free_port

TRAIN = str(ROOT / 'tools/train.py')
# The limit ends a hang; a busy machine must not reach the limit.
SECONDS = 600


@pytest.fixture
def start(options):
    """Start a training as a user does, with all output in one stream."""
    running = []

    def run(*command, setting=(), env=(), **kwargs):
        process = subprocess.Popen(
            [*map(str, command), *options, *setting],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=os.environ
            | {'PYTHON': sys.executable, 'PORT': free_port()}
            | dict(env),
            **kwargs,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.stdout.close()


def read_until(process, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f'the training ended before it said {text!r}')


def workers(process) -> dict[int, psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    trains = [c for c in children if TRAIN in ' '.join(c.cmdline())]
    trains = [c for c in trains if 'RANK' in c.environ()]
    return {int(c.environ()['RANK']): c for c in trains}


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def assert_same_weights(actual, expected) -> None:
    actual, expected = weights(actual), weights(expected)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


@pytest.fixture(scope='module')
def whole(tool, options, tmp_path_factory) -> Path:
    """Train in two processes to the end, and return the work dir."""
    work_dir = tmp_path_factory.mktemp('whole')
    command = ('dist_train.sh', CONFIG, 2, '--work-dir', work_dir)
    result = tool(*command, *options)
    assert result.returncode == 0, result.stderr
    assert 'Epoch(train) [2][4/4]' in result.stdout.replace('[2]  [', '[2][')
    return work_dir


def test_two_processes_test_a_checkpoint(tool, whole, options):
    arguments = (whole / 'epoch_2.pth', 2, '--work-dir', whole)
    result = tool('dist_test.sh', CONFIG, *arguments, *options)
    assert result.returncode == 0, result.stderr
    assert 'coco/segm_mAP_50' in result.stdout


def test_kill_of_one_process_then_resume(start, whole, tmp_path):
    command = (ROOT / 'tools/dist_train.sh', CONFIG, 2, '--work-dir')
    killed = start(*command, tmp_path)
    read_until(killed, 'Epoch(train) [2][1/4]')
    both = workers(killed)
    assert both.keys() == {0, 1}
    both[1].kill()
    output, _ = killed.communicate(timeout=SECONDS)
    assert killed.returncode != 0
    assert 'Signal 9 (SIGKILL) received' in output
    assert not any(worker.is_running() for worker in both.values())

    resumed = start(*command, tmp_path, '--resume')
    output, _ = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, output
    assert 'resumed epoch: 1' in output
    assert_same_weights(tmp_path / 'epoch_2.pth', whole / 'epoch_2.pth')


def limit_file_size() -> None:
    # A write beyond the limit fails, as a write to a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


def test_termination_then_full_disk(start, tmp_path):
    command = (sys.executable, TRAIN, CONFIG, '--work-dir', tmp_path)
    stopped = start(*command)
    read_until(stopped, 'Epoch(train) [2][1/7]')
    stopped.send_signal(signal.SIGTERM)
    output, _ = stopped.communicate(timeout=SECONDS)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert 'train.py: ended by SIGTERM; --resume goes on' in output
    before = tmp_path / 'epoch_1.pth'
    assert weights(before)

    shutil.copy(before, tmp_path / 'copy.pth')
    full = start(*command, '--resume', preexec_fn=limit_file_size)
    output, _ = full.communicate(timeout=SECONDS)
    assert full.returncode == 1
    last = output.strip().splitlines()[-1]
    assert last.startswith('train.py: error: checkpoint ')
    assert "epoch_2.pth' could not be written (File too large)" in last
    assert before.read_bytes() == (tmp_path / 'copy.pth').read_bytes()
    assert (tmp_path / 'last_checkpoint').read_text() == str(before)
    assert not list(tmp_path.glob('epoch_2*'))


def test_different_configs(start, tmp_path):
    processes, port = [], free_port()
    for rank in range(2):
        processes.append(
            start(
                sys.executable,
                TRAIN,
                CONFIG,
                '--launcher=pytorch',
                '--work-dir',
                tmp_path,
                env=dict(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE='2',
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=port,
                ),
                setting=[f'model.neck.norm_cfg.num_groups={32 >> rank}'],
            )
        )
    outputs = [p.communicate(timeout=SECONDS)[0] for p in processes]
    assert [p.returncode for p in processes] == [1, 1]
    assert (
        'train.py: error: processes 0 and 1 were given different configs: '
        in outputs[0]
    )
    assert 'num_groups=32' in outputs[0]
    assert 'num_groups=16' in outputs[0]
