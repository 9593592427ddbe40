# Copyright (c) mmnorm contributors. All rights reserved.
"""The tables of results say what the raw results say."""

import json

import pytest

from tests.paths import ROOT

TOOL = 'studies.compare_norms'
NORMS = {
    'BN, one image': ('_bn-', '_syncbn-'),
    'GN': ('fpn_gn-all', 'd8_gn-'),
    'GN+WS': ('_gn-ws-', 'ws_gn-'),
    'BCN': ('fpn_bcn-all', 'd8_bcn-'),
    'BCN+WS': ('_bcn-ws-', 'ws_bcn-'),
    'SN': ('fpn_sn-', 'd8_sn-'),
}


@pytest.fixture(scope='module')
def runs(module) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(r) for r in path.read_text().splitlines()]
        for path in sorted(module.RESULTS.glob('*_mini-*.json'))
    }


def test_every_mini_config_has_a_run(module, runs):
    assert set(runs) == {path.stem for path in module.CONFIGS.glob('*.py')}


@pytest.mark.parametrize('kind', ['mask-rcnn', 'deeplabv3'])
def test_table_of_the_mini_configs(module, runs, kind):
    of_kind = {k: v for k, v in runs.items() if k.startswith(kind)}
    page = (module.CONFIGS / 'README.md').read_text()
    assert module.table(of_kind) in page


def test_table_of_the_readme(runs):
    last = {name: records[-1] for name, records in runs.items()}
    page = (ROOT / 'README.md').read_text()
    for norm, (detector, segmenter) in NORMS.items():
        (boxes,) = (
            r for n, r in last.items() if detector in n and 'mask' in n
        )
        (areas,) = (r for n, r in last.items() if segmenter in n and 'v3' in n)
        box, mask = boxes['coco/bbox_mAP'], boxes['coco/segm_mAP']
        row = f'| {norm} | {box:.3f} / {mask:.3f} | {areas["mIoU"]:.1f} |'
        assert row in page
