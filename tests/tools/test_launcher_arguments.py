# Copyright (c) mmnorm contributors. All rights reserved.
"""Mistakes in the arguments of dist_*.sh and slurm_*.sh get a sentence."""

import os
import shutil

import pytest

from tests.paths import CONFIG


@pytest.mark.parametrize('gpus', ['0', '-1', 'two', '1.5'])
def test_number_of_gpus(tool, gpus):
    result = tool('dist_train.sh', CONFIG, gpus)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"dist_train.sh: error: the number of GPUs is '{gpus}': give 1 or more"
    ]


def test_more_gpus_than_there_are(tool, tmp_path, monkeypatch):
    # The script asks this torch only for the number of GPUs.
    (tmp_path / 'torch.py').write_text(
        'class cuda:\n    device_count = staticmethod(lambda: 2)\n'
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    result = tool('dist_train.sh', CONFIG, 3)
    assert result.returncode == 1
    assert '3 GPUs asked for and this machine shows 2' in result.stderr


def test_config_of_a_package(tool):
    result = tool('dist_train.sh', 'mmdet::none.py', 1)
    assert result.returncode == 1
    # The command itself says so.
    sentence = "train.py: error: config 'mmdet::none.py' does not exist"
    assert sentence in result.stderr


def test_dist_files_that_do_not_exist(tool):
    result = tool('dist_test.sh', CONFIG, 'none.pth', 1)
    assert result.returncode == 1
    assert "'none.pth' does not exist" in result.stderr
    result = tool('dist_train.sh')
    assert result.returncode == 2
    assert result.stderr.startswith('Train on several GPUs: tools/dist_train')


@pytest.mark.parametrize(
    ('name', 'value', 'why'),
    [
        ('NNODES', 'x', "NNODES is 'x': give 1 or more"),
        ('NNODES', '0', "NNODES is '0': give 1 or more"),
        ('NODE_RANK', '2', "NODE_RANK is '2': with NNODES=2 the nodes are 0"),
        ('NODE_RANK', '-1', "NODE_RANK is '-1': with NNODES=2 the nodes are"),
        ('MASTER_ADDR', '', 'NNODES is 2 and MASTER_ADDR is not set'),
    ],
)
def test_nodes(tool, monkeypatch, name, value, why):
    monkeypatch.setenv('NNODES', '2')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv(name, value)
    result = tool('dist_train.sh', CONFIG, 1)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f'dist_train.sh: error: {why}')


@pytest.mark.parametrize(
    ('settings', 'why'),
    [
        ({'GPUS': '0'}, "GPUS is '0': give 1 or more"),
        ({'GPUS': 'all'}, "GPUS is 'all': give 1 or more"),
        ({'GPUS_PER_NODE': '-8'}, "GPUS_PER_NODE is '-8': give 1 or more"),
        ({'CPUS_PER_TASK': '1.5'}, "CPUS_PER_TASK is '1.5': give 1 or more"),
        (
            {'GPUS': '12'},
            'GPUS is 12, no multiple of GPUS_PER_NODE, which is 8: ',
        ),
        ({}, 'srun is not installed: '),
    ],
)
def test_slurm(tool, monkeypatch, tmp_path, settings, why):
    for program in ('bash', 'dirname'):  # srun is not among them
        os.symlink(shutil.which(program), tmp_path / program)
    monkeypatch.setenv('PATH', str(tmp_path))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = tool('slurm_train.sh', 'gpus', 'job', CONFIG, tmp_path)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f'slurm_train.sh: error: {why}')


def test_slurm_files_that_do_not_exist(tool):
    result = tool('slurm_train.sh', 'gpus', 'job', 'none.py', 'work_dir')
    assert result.returncode == 1
    assert "error: 'none.py' does not exist" in result.stderr
    result = tool('slurm_test.sh', 'gpus', 'job', CONFIG, 'none.pth')
    assert result.returncode == 1
    assert "error: 'none.pth' does not exist" in result.stderr
    for arguments in ([], ['gpus', 'job', CONFIG, '--resume']):
        result = tool('slurm_train.sh', *arguments)
        assert result.returncode == 2
        assert result.stderr.startswith(
            'Train with slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG'
        )
