# Copyright (c) mmnorm contributors. All rights reserved.
"""The benchmark times what it says, and its report holds together."""

import json

import pytest
import torch

from mmnorm import BCN, SN

from ..layers.cases import call, run

TOOL = 'benchmark_norms'


@pytest.mark.parametrize('estimate', [True, False])
def test_composed_bcn_is_ours(module, estimate):
    composed = module.ComposedBCN(64, estimate).double()
    ours = BCN(64, estimate=estimate).double()
    compare(composed, ours, {'weight': (1, 32, 1), 'bias': (1, 32, 1)})


def test_composed_sn_is_ours(module):
    composed, ours = module.ComposedSN(64).double(), SN(64).double()
    composed.running_var.fill_(1)  # theirs begins at 0
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


def test_report(module, tmp_path):
    records = module.time_layers(
        (2, 64, 6, 5), 'cpu', torch.contiguous_format, 3
    )
    ratios = module.ratios(records)
    assert all(value > 0 for of in ratios.values() for value in of.values())
    case = {'name': 'small', 'shape': [2, 256, 100, 152], 'format': 'NCHW'}
    case |= {'records': records, 'ratios': ratios}
    results = {'machine': {'device': 'CPU'}, 'layers': [case]}
    results['steps'] = {name: [1.0, 2.0, 3.0] for name in module.STEPS}
    text = module.write(results, tmp_path)
    assert json.loads((tmp_path / 'norms.json').read_text()) == results
    rows = text.split('\n')[2:]
    assert [row.split(' | ')[0][2:] for row in rows] == list(module.LAYERS)
    assert rows[0].endswith('| 2.00 |')
    csv = (tmp_path / 'norms.csv').read_text().split('\n')
    assert len(csv) == 2 + len(records)  # head, and the last line's end
    assert (tmp_path / 'norms.png').stat().st_size > 0


def test_kept_memory_is_counted(module):
    x = torch.randn(2, 64, 6, 5, requires_grad=True)
    # Beside its input, batch norm keeps a mean and a deviation a channel.
    kept = module.kept_bytes(torch.nn.BatchNorm2d(64), x)
    assert kept == 2 * 64 * 4
    assert module.kept_bytes(module.ComposedSN(64), x) > x.nbytes
