# Copyright (c) mmnorm contributors. All rights reserved.
"""The benchmark times the calls that it names, and reports the times."""

import csv
import json
import math
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmnorm import BCN, SN
from mmnorm.config.apply_norm import NORMS
from tests.layers.cases import call, run

TOOL = 'benchmarks.norms'
SMALL = {
    'res4': (64, 6, 5),
    'fpn stride 8': (32, 8, 6),
    'fpn stride 16': (32, 4, 3),
}


@pytest.fixture
def part(module):
    """Return a module of the benchmark by its name."""
    return lambda name: import_module(f'benchmarks.{name}')


@pytest.mark.parametrize('estimate', [True, False])
def test_composed_bcn_is_ours(part, estimate):
    composed = part('peers').ComposedBCN(64, estimate).double()
    constant = dict(estimate_grad=None, base_batch_size=None)
    ours = BCN(64, estimate=estimate, **constant).double()
    compare(composed, ours, {'weight': (1, 32, 1), 'bias': (1, 32, 1)})


def test_composed_sn_is_ours(part):
    composed, ours = part('peers').ComposedSN(64).double(), SN(64).double()
    composed.running_var.fill_(1)  # The authors begin at 0.
    shapes = dict.fromkeys(('weight', 'bias'), (1, 64, 1, 1))
    shapes |= dict.fromkeys(('running_mean', 'running_var'), (1, 64, 1))
    compare(composed, ours, shapes)


def compare(composed, ours, shapes):
    torch.manual_seed(0)
    x = 2 * torch.randn(2, 64, 6, 5, dtype=torch.float64) + 0.7
    expected = run(ours, call, x)
    for key, value in run(composed, call, x).items():
        wanted = expected[key]
        name = key.removesuffix(' gradient')
        if name in shapes:
            wanted = wanted.reshape(shapes[name])
        if 'num_batches_tracked' not in key:
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize(
    'form', [torch.contiguous_format, torch.channels_last]
)
def test_operators_of_sync_batch_norm_are_batch_norm(part, form):
    theirs = part('gpu_peers').SyncBatchNormOperators(64).double().cuda()
    x = torch.randn(2, 64, 6, 5, dtype=torch.float64, device='cuda')
    x = x.to(memory_format=form)
    actual = run(theirs, call, x)
    expected = run(nn.BatchNorm2d(64).double().cuda(), call, x)
    del actual['num_batches_tracked'], expected['num_batches_tracked']
    torch.testing.assert_close(actual, expected)


def test_packages_that_are_not_installed_are_left_out(part, capsys):
    gpu_peers = part('gpu_peers')
    gpu_peers._find.cache_clear()
    for _ in range(2):  # The message comes once.
        assert list(gpu_peers.gpu_peers('NHWC')) == [
            'nn.SyncBatchNorm, operators'
        ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' is left out: ')[0] for line in lines] == [
        'liger_kernel.transformers.group_norm.LigerGroupNorm',
        'apex.contrib.group_norm.GroupNorm',
    ]


def test_packages_that_are_installed_compete(part, monkeypatch):
    gpu_peers = part('gpu_peers')
    for path, name, make in (
        (
            'liger_kernel.transformers.group_norm',
            'LigerGroupNorm',
            lambda c, groups, eps: nn.GroupNorm(groups, c, eps),
        ),
        ('apex.contrib.group_norm', 'GroupNorm', nn.GroupNorm),
    ):
        names = path.split('.')
        for end in range(1, len(names)):
            parent = '.'.join(names[:end])
            monkeypatch.setitem(sys.modules, parent, SimpleNamespace())
        module = SimpleNamespace(**{name: make})
        monkeypatch.setitem(sys.modules, path, module)
    gpu_peers._find.cache_clear()
    peers = gpu_peers.gpu_peers('NHWC')
    assert tuple(peers)[1:] == gpu_peers.FOREIGN
    for name in gpu_peers.FOREIGN:
        assert peers[name](64).num_groups == 32
        assert peers[name](64).num_channels == 64
    assert 'apex GroupNorm' not in gpu_peers.gpu_peers('NCHW')
    gpu_peers._find.cache_clear()


def test_layer_of_another_package_may_fail(part, capsys):
    step = [lambda: 1 / 0]
    assert not part('gpu_peers').runs('apex GroupNorm', step)
    assert 'apex GroupNorm is left out here' in capsys.readouterr().out


def test_fused_activation_competes_where_a_backend_has_it(part, monkeypatch):
    layers = part('layers')
    case = {'name': 'stem', 'images': 1, 'shape': [1, 32, 4, 3]}
    case |= {'format': 'NCHW', 'dtype': 'float16'}
    made = layers.make_layers(case, 'cpu')
    assert not [name for name in made if 'fused' in name]
    backend = SimpleNamespace(fuses=lambda activation: True)
    monkeypatch.setattr(layers, 'ops_for', lambda x: backend)
    made = layers.make_layers(case, 'cpu')
    x = torch.randn(1, 32, 4, 3)
    for name in layers.OURS:
        fused = made[f'{name}, fused ReLU']
        # The norm computes the activation itself.
        assert 'forward' in vars(fused)
        torch.testing.assert_close(fused(x), made[name](x))
        assert made[name](x).min() == 0


def test_kept_memory_is_counted(part):
    kept_bytes = part('clock').kept_bytes
    x = torch.randn(2, 64, 6, 5, requires_grad=True)
    # Batch norm keeps its input, and a mean and a deviation per channel.
    assert kept_bytes(nn.BatchNorm2d(64), x) == 2 * 64 * 4
    # A ReLU keeps its output, which lives anyway.
    assert kept_bytes(nn.ReLU(), x) == 0
    assert kept_bytes(part('peers').ComposedSN(64), x) > x.nbytes


def test_every_competitor_is_timed_in_turn(part):
    turns = []
    values = part('clock').interleave(
        {'a': 1, 'b': 2}, lambda one: turns.append(one) or len(turns), 2
    )
    assert turns == [1, 2, 1, 2, 1, 2]
    assert values == {'a': [3, 5], 'b': [4, 6]}  # The first round is dropped.


def test_share_counts_the_passes_of_the_floor(part):
    # A copy of 2 passes takes 2 s, and one pass takes 1 s.
    row = part('layers').spread([[3.0, 10.0, 0.0]] * 3, copied=2.0)
    assert row['forward share'] == 1
    assert row['backward share'] == 0.5
    assert row['step share'] == pytest.approx(8 / 13)
    assert row['step ms'] == [13e3] * 3


def rows_of(dtype, layers):
    """Yield results in which a layer takes a number of ns per element.

    The layers of mmnorm take twice the time on one image in NHWC.
    """
    shapes = {'fpn stride 8': (32, 80, 100), 'stem': (8, 10, 100)}
    for n in (1, 2, 80):
        for name, shape in shapes.items():
            size = n * math.prod(shape)
            for label in ('NCHW', 'NHWC'):
                case = {'name': name, 'images': n, 'shape': [n, *shape]}
                case |= {'format': label, 'dtype': dtype, 'copy ms': size}
                yield case | {'layer': 'copy', 'step ms': [size] * 3}
                for layer, cost in layers.items():
                    row = case | {'layer': layer, 'kept MB': 7.0}
                    ms = cost * size / 1e6
                    if (n, label) == (1, 'NHWC') and 'mmn' in layer:
                        ms *= 2
                    for what in ('step', 'forward', 'backward'):
                        row[f'{what} ms'] = [ms / 2, ms, 2 * ms]
                        row[f'{what} share'] = 0.25
                    yield row


def test_report(part, tmp_path):
    of = {'nn.BatchNorm2d': 4, 'composed SN': 20, 'mmnorm.SN': 5}
    half = of | {'mmnorm.SN, fused ReLU': 3}
    parts = {
        'layers': list(rows_of('float32', of)),
        'amp': list(rows_of('float16', half)),
        'sizes': [{'layer': 'mmnorm.SN', 'stall ms': [1.0, 2.0, 9.0]}],
        'steps': [
            {'model': 'Mask R-CNN', 'layer': 'mmnorm.SN', 's': [3.0, 1.0, 2.0]}
        ],
    }
    for name, rows in parts.items():
        result = {'machine': {'device': 'CPU'}, 'repeats': 3, 'rows': rows}
        (tmp_path / f'{name}.json').write_text(json.dumps(result))
    parts['family'] = [
        {'name': 'fpn stride 8', 'images': 2, 'shape': [2, 8, 4, 4]}
        | {'layer': layer, 'step ms': [ms / 2, ms, 2 * ms]}
        for layer, ms in (
            ('copy', 1),
            ('nn.BatchNorm2d', 4),
            ('mmnorm.FRN', 6),
        )
    ]
    result = {'machine': {}, 'repeats': 3, 'rows': parts['family']}
    (tmp_path / 'family.json').write_text(json.dumps(result))
    text = part('report').report(tmp_path)
    assert '| mmnorm.FRN | 6.00 (3.00 to 12.00) | 1.50 |' in text
    assert text + '\n' == (tmp_path / 'README.md').read_text()
    lines = text.splitlines()
    # There are 512000 elements at 5 ns; one size is above the step.
    times = ' | '.join(['2.56 (1.28 to 5.12)'] * 3)
    expected = f'| mmnorm.SN | {times} | 0.25 | 0.25 | 7 | 1.00 |'
    assert expected in lines
    fused = '| mmnorm.SN | ' + ' | '.join(
        ['2.56 (1.28 to 5.12)', '1.54 (0.77 to 3.07)'] * 2
    )
    assert f'{fused} |' in lines
    over = ' | '.join(['1.25 (1.25 to 1.25)', '1.25 (1.25 to 2.50)'] * 2)
    assert f'| mmnorm.SN | nn.BatchNorm2d | {over} |' in lines
    over = ' |  |  | 0.15 (0.15 to 0.15) | 0.15 (0.15 to 0.30) |'
    assert f'| mmnorm.SN, fused ReLU | composed SN{over}' in lines
    assert '| mmnorm.SN | 2.00 | 9.00 | 2.00 (1.00 to 3.00) |' in lines
    with (tmp_path / 'norms.csv').open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(parts['layers']) + len(parts['amp'])
    assert table[1]['step ms'] == str(4 * 256000 / 1e6)
    for name in ('shares', 'peers', 'elements'):
        assert (tmp_path / f'{name}.png').stat().st_size > 10_000


def test_slopes_are_fitted_on_both_sides_of_the_step(part):
    tables = part('tables')

    def timed(size):
        ms = size**1.5 if size > tables.STEP else size
        return {'shape': [size], 'step ms': [0, ms, 0]}

    rows = [timed(2**power) for power in range(16, 30)]
    below = tables.slope(rows, lambda size: size < tables.STEP)
    above = tables.slope(rows, lambda size: size > tables.STEP)
    assert below == pytest.approx(1)
    assert above == pytest.approx(1.5)
    # Three shapes of nearly one size give no slope.
    assert tables.slope(rows[:2], lambda size: True) is None


def test_command(main, part, tmp_path, monkeypatch, capsys):
    layers, steps = part('layers'), part('steps')
    monkeypatch.setattr(layers, 'SHAPES', SMALL)
    monkeypatch.setattr(layers, 'COMPILED', ())
    monkeypatch.setattr(layers, 'SIZES', [(3, 4), (5, 6), (7, 8)])
    monkeypatch.setattr(steps, 'IMAGE', (32, 32))
    monkeypatch.setattr(steps, 'CROP', (32, 32))
    norms = {name: steps.NORMS[name] for name in ('mmnorm.BCN',)}
    monkeypatch.setattr(steps, 'NORMS', norms)
    arguments = '--device', 'cpu', '--repeats', 1, '--out', tmp_path
    main(*arguments, '--parts', 'steps')
    main(*arguments, '--parts', 'layers', 'amp', 'sizes', 'family')
    (folder,) = tmp_path.iterdir()
    rows = {
        name: json.loads((folder / f'{name}.json').read_text())['rows']
        for name in ('layers', 'amp', 'sizes', 'steps', 'family')
    }
    family = [row['layer'] for row in rows['family']]
    names = ['copy', 'nn.BatchNorm2d', *(f'mmnorm.{norm}' for norm in NORMS)]
    assert family == names * len(set(SMALL) & set(layers.FEW))
    names = [*layers.PEERS, *layers.OURS]
    cases = 2 * len(SMALL) * 2  # one and two images, two formats
    assert len(rows['layers']) == cases * (1 + len(names))
    assert {row['dtype'] for row in rows['layers']} == {'float32'}
    few = set(SMALL) & set(layers.FEW)
    assert {row['name'] for row in rows['amp']} == few
    assert {row['dtype'] for row in rows['amp']} == {'bfloat16'}
    for row in rows['layers'] + rows['amp']:
        low, median, high = row['step ms']
        assert 0 < low <= median <= high
        if row['layer'] != 'copy':
            assert row['forward ms'][1] + row['backward ms'][1] == (
                pytest.approx(median)
            )
    assert [row['layer'] for row in rows['sizes']] == names
    assert [len(row['stall ms']) for row in rows['sizes']] == [2] * len(names)
    assert [row['model'] for row in rows['steps']] == list(steps.TASKS)
    # The report covers this run and the run before.
    text = (folder / 'README.md').read_text()
    assert text.strip() in capsys.readouterr().out
    assert 'Mask R-CNN' in text
    assert '| 2x32x8x6 | step, ms |' in text
    assert '|  | step at 2x32x8x6, ms | over nn.BatchNorm2d, res4 | ' in text


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--repeats', 0), '--repeats is 0: ask for 1 or more'),
        (('--parts', 'all'), "invalid choice: 'all'"),
        (('--device', 'cuda'), 'torch finds no GPU'),
    ],
)
def test_bad_arguments(main, tmp_path, capsys, arguments, sentence):
    if 'cuda' in arguments and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(SystemExit, match='2'):
        main('--out', tmp_path / 'out', *arguments)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow  # The compiler takes half a minute.
def test_compiled_is_composed(part):
    layers = part('layers')
    case = {'name': layers.FEW[0], 'images': 2, 'shape': [2, 64, 6, 5]}
    case |= {'format': 'NCHW', 'dtype': 'float32'}
    made = layers.make_layers(case, 'cpu')
    x = torch.randn(2, 64, 6, 5)
    for name in layers.COMPILED:
        compiled = made[f'{name}, compiled']
        again = layers.PEERS[name](64)
        torch.testing.assert_close(compiled(x), again(x))
