# Copyright (c) mmnorm contributors. All rights reserved.
"""A study that is killed ends with the results of one that is not."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from studies.plan import Cell, Plan, read_plan
from tests.paths import ROOT

TOOL = 'studies.run'
CELL = Cell('net', 'data', 'GN', 'default', 1, 1, 0, '0.001', 4)
TASK = {'metrics': {'mIoU': 'mIoU', 'pixels right': 'aAcc'}}
PLAN = Plan('toy', '', {('net', 'data'): TASK}, {}, {}, [CELL])
MEASURED = ('seconds', 'memory_mb')


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """Write a plan of two short trainings on six small images."""
    folder = tmp_path_factory.mktemp('study')
    converter = ROOT / 'tools/dataset_converters/make_mini_cityscapes.py'
    data = folder / 'data'
    sizes = ['--train=4', '--val=2']
    subprocess.run([sys.executable, converter, data, *sizes], check=True)
    config = folder / 'config.py'
    base = 'deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/mini/{base}'\n"
        f"train_dataloader = dict(dataset=dict(data_root='{data}/'))\n"
        f"val_dataloader = dict(dataset=dict(data_root='{data}/'))\n"
        'test_dataloader = val_dataloader\n'
    )
    path = folder / 'toy.yml'
    path.write_text(f"""
tasks:
  toy:
    network: net
    data: mini
    config: {config}
    images: 8
    num_groups: 8
    metrics: {{mIoU: mIoU}}
cells:
  - {{tasks: [toy], norms: [GN, BCN]}}
""")
    return path


def run(study: Path, name: str) -> subprocess.Popen:
    folder = study.parent / name
    command = [sys.executable, '-m', 'studies.run', study, '--workers=1']
    command += ['--results', folder, '--work-dirs', folder]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def finish(study: Path, name: str) -> list[dict]:
    process = run(study, name)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    with (study.parent / name / 'toy.csv').open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def whole(study) -> list[dict]:
    return finish(study, 'whole')


def test_rows(study, whole):
    cells = read_plan(study).cells
    assert [row['norm'] for row in whole[::2]] == ['GN', 'BCN']
    assert [row['metric'] for row in whole] == ['mIoU', 'loss'] * 2
    for cell, row in zip(cells, whole[::2], strict=True):
        said = {k: str(v) for k, v in cell._asdict().items()}
        assert row.items() >= said.items()
        assert float(row['memory_mb']) > 100
        assert 0 <= float(row['value']) <= 100
        assert row['steps'] == '8'


def interrupt(study: Path, name: str, step: int, kill: int) -> None:
    """Run a study until its first training has saved a step, and kill it."""
    process = run(study, name)
    folder = study.parent / name
    while not list(folder.glob(f'*_GN_*/iter_{step}.pth')):
        assert process.poll() is None
        time.sleep(0.01)
    if kill == signal.SIGKILL:  # as if the machine went down
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.send_signal(kill)
    process.communicate()
    assert process.returncode != 0
    assert not list(folder.glob('*.csv'))


def test_killed_study_resumes(study, whole):
    interrupt(study, 'killed', 2, signal.SIGTERM)
    interrupt(study, 'killed', 5, signal.SIGKILL)
    rows = finish(study, 'killed')
    (first,) = (study.parent / 'killed').glob('*_GN_*')
    assert (first / 'log.txt').read_text().count('resumed epoch') == 2
    for row, other in zip(rows, whole, strict=True):
        for column in MEASURED:
            row.pop(column)
        assert row.items() <= other.items()
    assert not list(study.parent.rglob('*.pth'))


def test_complete_study_trains_nothing(study, whole):
    assert finish(study, 'whole') == whole


class Finished:
    """Trainings that write a log and end."""

    def __init__(self, module, tmp_path, monkeypatch) -> None:
        self.started = []
        self.exit_code = 0
        self.log = '{"loss": 2.0, "time": 1.5, "step": 4}\n'
        self.log += '{"mIoU": 50.0, "step": 4}\n'
        monkeypatch.setattr(module, 'start', self.start)
        self.study = module.Study(
            PLAN, tmp_path, tmp_path, workers=2, keep=False
        )

    def start(self, cell, plan, work_dir, worker):
        self.started.append((cell, worker))
        file = work_dir / 'date/vis_data/scalars.json'
        file.parent.mkdir(parents=True)
        file.write_text(self.log)
        (work_dir / 'iter_2.pth').touch()
        return subprocess.Popen(['sh', '-c', f'exit {self.exit_code}'])


@pytest.fixture
def finished(module, tmp_path, monkeypatch) -> Finished:
    return Finished(module, tmp_path, monkeypatch)


def test_missing_metric_is_zero(finished, tmp_path):
    assert finished.study.train() == 0
    with (tmp_path / 'toy.csv').open() as file:
        values = {r['metric']: r['value'] for r in csv.DictReader(file)}
    assert values == {'mIoU': '50', 'pixels right': '0', 'loss': '2'}
    assert finished.started == [(CELL, 0)]
    assert not list(tmp_path.rglob('*.pth'))


def test_failed_cell_has_no_row(finished, tmp_path, capsys):
    finished.log = finished.log.splitlines()[0]
    finished.exit_code = 1
    assert finished.study.train() == 1
    assert not (tmp_path / 'toy.csv').exists()
    assert list(tmp_path.rglob('*.pth'))
    log = tmp_path / CELL.name / 'log.txt'
    assert f'failed; the end of {log} says why' in capsys.readouterr().out


def test_complete_training_without_rows_is_not_repeated(finished, tmp_path):
    process = finished.start(CELL, PLAN, tmp_path / CELL.name, 0)
    process.wait()
    finished.started.clear()
    assert finished.study.train() == 0
    assert not finished.started
    assert (tmp_path / 'toy.csv').is_file()


def test_cell_of_another_process_is_left(module, tmp_path, monkeypatch):
    from studies import training

    monkeypatch.setattr(training, 'config_of', lambda *_: NoDump())
    monkeypatch.setattr(training, 'command', lambda *_: ['sleep', '60'])
    first = training.start(CELL, PLAN, tmp_path, 0)
    assert training.start(CELL, PLAN, tmp_path, 0) is None
    first.kill()
    first.wait()
    second = training.start(CELL, PLAN, tmp_path, 0)
    assert second is not None
    second.kill()
    second.wait()


class NoDump:
    def dump(self, path: Path) -> None:
        pass


def test_resumes_before_the_last_step(tmp_path):
    from studies.training import command

    for step in (1, 2, 4, 10):
        (tmp_path / f'iter_{step}.pth').touch()
    cell = CELL._replace(steps=10)
    words = command(cell, tmp_path / 'c.py', tmp_path)
    assert words[-2:] == ['--resume', str(tmp_path / 'iter_4.pth')]
    cell = CELL._replace(steps=10, processes=2)
    words = command(cell, tmp_path / 'c.py', tmp_path / 'new')
    assert '--resume' not in words
    assert words[1:5] == [
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
    ]
    assert words[-2:] == ['--launcher', 'pytorch']


def test_unknown_study(module, capsys):
    with pytest.raises(SystemExit):
        module.find_plan('gradients')
    assert "'gradients' is no study: give a file, or one of" in (
        capsys.readouterr().err
    )
