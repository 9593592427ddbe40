# Copyright (c) mmnorm contributors. All rights reserved.
"""Each mistake gets one sentence and a non-zero exit, before any training."""

import os
import runpy
import shutil
import sys

import pytest
import torch

from tests.paths import CONFIG, ROOT

NORM = 'model.backbone.norm_cfg'


@pytest.fixture
def complaint(monkeypatch, capsys):
    """Run a Python tool that has to fail; what it says on stderr."""

    def run(name, *args) -> str:
        argv = [name, *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        assert exit_info.value.code not in (0, None)
        lines = capsys.readouterr().err.strip().splitlines()
        said = [line for line in lines if line.startswith(f'{name}: error: ')]
        assert said == lines[-1:], lines
        return said[0]

    return run


@pytest.fixture
def train_with(complaint, options, tmp_path):
    def run(*settings: str) -> str:
        work = ('--work-dir', tmp_path)
        return complaint('train.py', CONFIG, *work, *options, *settings)

    return run


def test_config_that_does_not_exist(complaint):
    said = complaint('train.py', 'configs/none.py')
    assert "config 'configs/none.py' does not exist" in said


def test_work_dir_that_cannot_be_made(complaint, options, tmp_path):
    (tmp_path / 'file').write_text('')
    work_dir = tmp_path / 'file' / 'work'
    said = complaint('train.py', CONFIG, '--work-dir', work_dir, *options)
    assert f'work_dir {str(work_dir)!r} cannot be made' in said


def test_num_groups_that_does_not_divide(train_with):
    said = train_with(f'{NORM}.num_groups=48')
    assert 'num_groups=48 does not divide the 64 channels' in said


def test_unknown_norm_argument(train_with):
    said = train_with(f'{NORM}.num_gruops=32')
    assert "type BCN does not take 'num_gruops'; it takes num_groups" in said


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (None, 'does not exist'),
        ('', '(0 bytes) is not a JSON object'),
        ('{"images": [', '(12 bytes) is not a JSON object'),
        ('a,b,c', '(5 bytes) is not a JSON object'),
    ],
    ids=['missing', 'empty', 'truncated', 'not JSON'],
)
@pytest.mark.parametrize('mode', ['train', 'val'])
def test_annotations(train_with, tmp_path, content, why, mode):
    path = tmp_path / 'instances.json'
    if content is not None:
        path.write_text(content)
    said = train_with(f'{mode}_dataloader.dataset.ann_file={path}')
    assert f'{mode}_dataloader.dataset.ann_file' in said
    assert str(path) in said
    assert why in said


def write_checkpoint(path) -> None:
    torch.save({'state_dict': {'w': torch.ones(1000)}}, path)


def truncated(path) -> None:
    write_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ('write', 'why'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_bytes(b''), '(0 bytes) cannot be read'),
        (lambda path: path.write_text('hello'), 'cannot be read'),
        (truncated, 'cannot be read: it is truncated, or not a checkpoint'),
        (lambda path: torch.save([1, 2], path), 'holds a list'),
    ],
    ids=['missing', 'empty', 'text', 'truncated', 'list'],
)
def test_checkpoint(complaint, options, tmp_path, write, why):
    path = tmp_path / 'epoch_1.pth'
    write(path)
    said = complaint('test.py', CONFIG, path, *options)
    assert f'checkpoint {str(path)!r}' in said
    assert why in said


def test_resume_from_weights_alone(complaint, options, tmp_path):
    path = tmp_path / 'weights.pth'
    write_checkpoint(path)
    said = complaint('train.py', CONFIG, '--resume', path, *options)
    assert 'holds weights alone' in said
    assert f'load_from={path}' in said


def test_amp_without_a_gpu(complaint, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    said = complaint('train.py', CONFIG, '--amp')
    assert '--amp needs a GPU' in said


def test_auto_scale_lr_without_a_batch_size(complaint, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict()\n')
    said = complaint('train.py', path, '--auto-scale-lr')
    assert 'needs auto_scale_lr.base_batch_size' in said


@pytest.mark.parametrize('gpus', ['0', '-1', 'two', '1.5'])
def test_number_of_gpus(tool, gpus):
    result = tool('dist_train.sh', CONFIG, gpus)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"dist_train.sh: error: the number of GPUs is '{gpus}': give 1 or more"
    ]


def test_more_gpus_than_there_are(tool, tmp_path, monkeypatch):
    # A torch that shows two GPUs, for the one question the script asks.
    (tmp_path / 'torch.py').write_text(
        'class cuda:\n    device_count = staticmethod(lambda: 2)\n'
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    result = tool('dist_train.sh', CONFIG, 3)
    assert result.returncode == 1
    assert '3 GPUs asked for and this machine shows 2' in result.stderr


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
    for program in ('bash', 'dirname'):  # and no srun
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
