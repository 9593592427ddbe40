# Copyright (c) mmnorm contributors. All rights reserved.
"""The table says what the raw results say, and these what was hoped for."""

import json

import pytest
from mmengine.config import Config

TOOL = 'studies.compare_initializations'


@pytest.fixture(scope='module')
def runs(module) -> dict[str, list[list[dict]]]:
    return {
        start: [
            read(module.RESULTS / f'{start}_seed-{seed}.json')
            for seed in module.SEEDS
        ]
        for start in module.STARTS
    }


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_table(module, runs):
    page = module.PAGE.read_text()
    text = page.partition('<!-- starts begin -->')[2]
    text = text.partition('<!-- starts end -->')[0]
    bn = read(module.RESULTS / f'{module.BN.stem}.json')
    assert text.strip() == f'{module.table(runs)}\n\n{module.before(bn)}'


def test_mean_and_range(module):
    assert module.mean_and_range([0.1, 0.4, 0.3], 2) == '0.27 (0.10 to 0.40)'


@pytest.mark.parametrize('key', ['bbox_mAP', 'bbox_mAP_50', 'segm_mAP'])
def test_every_bn_start_beats_every_random_one(runs, key):
    ends = {
        start: [records[-1][f'coco/{key}'] for records in of_start]
        for start, of_start in runs.items()
    }
    assert min(ends['bn']) > max(ends['random'])


def test_runs_are_whole_and_their_schedules_the_same(module, runs):
    whole = [records for of_start in runs.values() for records in of_start]
    # By its last step a run is known as finished, and not trained again.
    assert {records[-1]['step'] for records in whole} == {module.STEPS}
    rates = [
        [(r['step'], r['lr']) for r in records if 'lr' in r]
        for records in whole
    ]
    assert rates == [rates[0]] * len(rates)
    assert rates[0][-1][0] == module.STEPS
    # The last step of the cosine, not the middle of a longer one.
    assert 0 <= rates[0][-1][1] < 1e-3 / 100


def test_seeds_are_different_runs(runs):
    for of_start in runs.values():
        losses = [records[0]['loss'] for records in of_start]
        assert len(set(losses)) == len(losses)


def test_starts_differ_in_the_start_alone(module, tmp_path):
    checkpoint = tmp_path / 'bn.pth'
    loaded = module.fine_tune(1, checkpoint)
    loaded.dump(tmp_path / 'loaded.py')
    loaded = Config.fromfile(tmp_path / 'loaded.py')
    drawn = module.fine_tune(1, None)
    assert loaded.pop('load_from') == str(checkpoint)
    assert drawn.pop('load_from') is None
    assert loaded.to_dict() == drawn.to_dict()
    assert drawn.randomness.seed == 1
    assert drawn.model == Config.fromfile(module.BCN).model


def test_a_bn_run_without_its_checkpoint(module, tmp_path, capsys):
    with pytest.raises(SystemExit):
        module.last_checkpoint(tmp_path)
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert 'remove the folder' in error


def test_a_bn_run_that_was_moved(module, tmp_path):
    note = tmp_path / 'last_checkpoint'
    note.write_text('/elsewhere/epoch_3.pth')
    assert module.last_checkpoint(tmp_path) == tmp_path / 'epoch_3.pth'
