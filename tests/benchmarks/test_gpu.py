# Copyright (c) mmnorm contributors. All rights reserved.
"""The parts for a GPU are recorded, resumed and repeated; none runs here."""

import sys

import pytest
import torch

TOOL = 'benchmarks.gpu'


def python(code: str) -> list[str]:
    return [sys.executable, '-c', code]


def test_output_and_status_are_recorded(module, tmp_path):
    path = tmp_path / 'part.txt'
    command = python(
        'import sys; print(5); sys.exit(print(6, file=sys.stderr))'
    )
    assert module.run(command, 'device: none\n', path, 60)
    lines = path.read_text().splitlines()
    assert lines[0] == 'device: none'
    assert lines[1].startswith(f'command: {sys.executable} -c import sys')
    assert sorted(lines[3:5]) == ['5', '6']
    assert lines[-1].startswith('exit 0 after ')
    assert module.is_done(path)


@pytest.mark.parametrize(
    ('code', 'seconds', 'status'),
    [('raise SystemExit(3)', 60, '3'), ('while True: pass', 0.5, 'timeout')],
)
def test_failed_part_is_not_done(module, tmp_path, code, seconds, status):
    path = tmp_path / 'part.txt'
    assert not module.run(python(code), '', path, seconds)
    assert path.read_text().splitlines()[-1].startswith(f'exit {status} ')
    assert not module.is_done(path)
    assert not module.is_done(tmp_path / 'missing.txt')


def test_parts_resume(module, tmp_path, monkeypatch, capsys):
    codes = {'first': 0, 'second': 1}
    monkeypatch.setattr(module, 'versions', lambda: 'device: none\n')
    monkeypatch.setattr(
        module,
        'parts',
        lambda folder: {
            name: python(f'raise SystemExit({code})')
            for name, code in codes.items()
        },
    )
    (tmp_path / 'gpu').mkdir()
    assert list(module._run_all(codes, tmp_path, False)) == ['second']
    codes['second'] = 0
    capsys.readouterr()
    assert list(module._run_all(codes, tmp_path, False)) == []
    assert 'first: done before' in capsys.readouterr().out
    codes['first'] = 1
    assert list(module._run_all(codes, tmp_path, True)) == ['first']


def test_commands_exist(module, tmp_path):
    for command in module.parts(tmp_path).values():
        named = [word for word in command if '/' in word and '.' in word]
        for word in named:
            if not word.startswith(('/', 'work_dirs')):
                assert (module.ROOT / word).exists()
        if '-m' in command:
            package = command[command.index('-m') + 1]
            path = module.ROOT / package.replace('.', '/')
            assert package == 'pytest' or path.with_suffix('.py').is_file()
    from studies.plan import PLANS

    for name in ('gradient-detection', 'r50'):
        assert (PLANS / f'{name}.yml').is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_machine_without_a_gpu_is_refused(module, main, capsys):
    with pytest.raises(SystemExit):
        main()
    assert 'torch finds no GPU' in capsys.readouterr().err


def test_unknown_part(main, capsys):
    with pytest.raises(SystemExit):
        main('kernel')
    assert "'kernel' is no part: use one of self-test," in (
        capsys.readouterr().err
    )
