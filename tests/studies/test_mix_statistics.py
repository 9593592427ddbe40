# Copyright (c) mmnorm contributors. All rights reserved.
"""The table of the page on recalibration is that of the results."""

import json

from tests.paths import ROOT

TOOL = 'studies.mix_statistics'


def test_each_share_is_measured_on_the_same_model(module, monkeypatch):
    runner = type('Runner', (), {'model': 'model'})
    shares = []
    monkeypatch.setattr(module, 'make_runner', lambda *_: runner)
    monkeypatch.setattr(
        module,
        'mix_image_statistics',
        lambda model, share: shares.append((model, share)),
    )
    monkeypatch.setattr(module, 'evaluate', lambda _: {'mIoU': len(shares)})
    seen = module.measure('name', None, 0)
    assert shares == [('model', share) for share in module.SHARES]
    assert seen['0'] == {'mIoU': 1}
    assert seen['1'] == {'mIoU': len(shares)}


def test_table_of_the_page(module):
    path = ROOT / 'studies/results/recalibrate/mixed.json'
    table = module.table(json.loads(path.read_text()))
    assert table in (ROOT / 'docs/recalibrate.md').read_text()
