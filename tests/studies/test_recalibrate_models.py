# Copyright (c) mmnorm contributors. All rights reserved.
"""The study measures the states of a model in turn."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

TOOL = 'studies.recalibrate_models'


def test_noise(module):
    np.random.seed(0)  # noqa: NPY002  as the study
    transform = module.AddNoise(std=20)
    image = np.full((40, 40, 3), 128, np.uint8)
    first = transform({'img': image})['img']
    second = transform({'img': image})['img']
    assert first.dtype == np.uint8
    assert np.std(first.astype(float)) == pytest.approx(20, rel=0.1)
    assert (first != second).any()
    white = transform({'img': np.full_like(image, 255)})['img']
    assert white.mean() < 255


def test_scramble_keeps_statistics_that_never_moved(module):
    moved, fresh = nn.BatchNorm2d(64), nn.BatchNorm2d(64)
    moved(torch.rand(2, 64, 3, 3))
    model = nn.Sequential(moved, fresh, nn.Conv2d(1, 1, 1))
    module.scramble(SimpleNamespace(model=model))
    assert fresh.running_mean.eq(0).all()
    assert fresh.running_var.eq(1).all()
    assert moved.running_mean.std() > 0.5
    assert 0.1 <= moved.running_var.min() < moved.running_var.max() <= 4


def test_states_of_a_model(module, monkeypatch):
    steps = []
    monkeypatch.setattr(
        module, 'make_runner', lambda name, folder, noise: f'noise {noise}'
    )
    monkeypatch.setattr(
        module, 'evaluate', lambda runner: steps.append('evaluate')
    )
    monkeypatch.setattr(
        module, 'move_on', lambda runner, seed: steps.append(f'move {seed}')
    )
    monkeypatch.setattr(
        module,
        'recalibrate',
        lambda runner, number: steps.append(f'{number} batches, {runner}'),
    )
    monkeypatch.setattr(
        module, 'scramble', lambda runner: steps.append('scramble')
    )
    seen = module.measure('name', None, 7, 40)
    assert list(seen) == [
        'as trained',
        '100 steps without learning',
        '200 steps without learning',
        '300 steps without learning',
        'recalibrated',
        'scrambled',
        'scrambled, recalibrated',
        'noise',
        'noise, recalibrated',
    ]
    assert [step for step in steps if step != 'evaluate'] == [
        *(f'move {seed}' for seed in (1, 2, 3)),
        '7 batches, noise 0',
        'scramble',
        '7 batches, noise 0',
        '7 batches, noise 40',
    ]
    assert steps.count('evaluate') == len(seen)


def test_command(module, main, tmp_path, monkeypatch, capsys):
    names = list(module.RUNS)
    detector, segmenter = names[0], names[-1]

    def measure(name, work_dirs, num_batches, noise):
        if name == detector:
            return {'noise': {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.25}}
        return {'noise': {'mIoU': float(noise)}}

    monkeypatch.setattr(module, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(module, 'measure', measure)
    monkeypatch.setattr(module, 'RUNS', {detector: '', segmenter: ''})
    main()
    file = tmp_path / 'results/results.json'
    assert json.loads(file.read_text()) == {
        name: measure(name, None, None, 40) for name in (detector, segmenter)
    }
    main('--only', segmenter, '--noise', 10)
    results = json.loads(file.read_text())
    assert results[detector] == measure(detector, None, None, 10)
    assert results[segmenter] == {'noise': {'mIoU': 10}}
    said = capsys.readouterr().out
    assert '| noise | 0.5 / 0.25 |' in said
    assert said.strip().endswith('| noise | 10 |')
