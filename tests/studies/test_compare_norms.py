# Copyright (c) mmnorm contributors. All rights reserved.
"""The study trains what is missing, and pages show its raw results."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize('detector', [True, False])
def test_table_of_the_mini_configs(module, runs, detector):
    chosen = {
        name: records
        for name, records in runs.items()
        if name.startswith('mask-rcnn') == detector
    }
    page = (module.CONFIGS / 'README.md').read_text()
    assert module.table(chosen) in page


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


def write_log(work_dir: Path, records: list[dict]) -> None:
    file = work_dir / 'date/vis_data/scalars.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('\n'.join(map(json.dumps, records)))


WHOLE = [{'loss': 2.0, 'step': 1}, {'loss': 1.0, 'step': 2}]
WHOLE += [{'mIoU': 50.0, 'step': 2}]


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict(max_iters=2)\n')
    return path


@pytest.mark.parametrize('length', [0, 1, 2])
def test_run_that_is_not_complete_starts(
    module, config, tmp_path, monkeypatch, length
):
    started = []

    def run(command, **kwargs):
        started.append(command[1:])
        write_log(tmp_path / 'run', WHOLE)
        return CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, 'run', run)
    if length:
        write_log(tmp_path / 'run', WHOLE[:length])
    assert module.train(config, tmp_path / 'run') == WHOLE
    train = ROOT / 'tools/train.py'
    assert started == [[train, config, '--work-dir', tmp_path / 'run']]
    assert module.train(config, tmp_path / 'run') == WHOLE
    assert len(started) == 1


def test_run_that_fails_names_its_log(module, config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module.subprocess, 'run', lambda *_, **__: CompletedProcess([], 1)
    )
    sentence = f'config failed; the reason is at the end of {tmp_path}/run.log'
    with pytest.raises(SystemExit, match=sentence):
        module.train(config, tmp_path / 'run')


def test_table(module):
    bad = [{'loss': 2.0}, {'loss': float('nan')}, {'mIoU': 1.0, 'step': 2}]
    text = module.table({'good': WHOLE, 'bad': bad})
    assert text.splitlines() == [
        '| config | losses | mIoU |',
        '|---|---|---|',
        '| [good](good.py) | 2.00 to 1.00 | 50 |',
        '| [bad](bad.py) | 1 of 2 not finite | 1 |',
    ]


def test_chance(module, tmp_path, monkeypatch):
    folder = tmp_path / 'data/mini_cityscapes/gtFine/val/city'
    folder.mkdir(parents=True)
    labels = np.array([[0, 0, 0, 1], [2, 2, 255, 255]], np.uint8)
    Image.fromarray(labels).save(folder / 'a_labelTrainIds.png')
    monkeypatch.setattr(module, 'ROOT', tmp_path)
    # Half of the 6 pixels are of one class, and there are 3 classes.
    assert module.chance() == pytest.approx(100 * 3 / 6 / 3)


def test_whole_study(module, main, tmp_path, monkeypatch, capsys):
    (tmp_path / 'README.md').write_text(
        'before\n<!-- norms begin -->\nold\n<!-- norms end -->\nafter\n'
    )
    for name in ('mask-rcnn_a', 'deeplabv3_b', 'deeplabv3_c'):
        (tmp_path / f'{name}.py').touch()
    images = tmp_path / 'runs' / module.SHOWN / 'date/vis_data/vis_image'
    images.mkdir(parents=True)
    for step in range(6):
        image = np.full((2, 3, 3), 10 * step, np.uint8)
        Image.fromarray(image).save(images / f'image_{step:04}.png')
    results = tmp_path / 'results'
    monkeypatch.setattr(module, 'CONFIGS', tmp_path)
    monkeypatch.setattr(module, 'RESULTS', results)
    monkeypatch.setattr(module, 'train', lambda config, work_dir: WHOLE)
    monkeypatch.setattr(module, 'chance', lambda: 4.8)
    main('--work-dirs', tmp_path / 'runs')
    page = (tmp_path / 'README.md').read_text()
    assert capsys.readouterr().out.strip() in page
    assert 'old' not in page
    assert page.startswith('before')
    assert page.endswith('after\n')
    lines = (results / 'deeplabv3_c.json').read_text().splitlines()
    assert [json.loads(line) for line in lines] == WHOLE
    with Image.open(results / 'segments.png') as image:
        assert (
            np.asarray(image)[:, ::3, 0].tolist()
            == [[20, 30]] * 2 + [[40, 50]] * 2
        )
