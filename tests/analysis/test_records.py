# Copyright (c) mmnorm contributors. All rights reserved.
"""Records are read as the hook has written them."""

import math

import numpy as np
import pytest

from mmnorm.analysis.records import (
    RecordsError,
    part_of_layer,
    read_records,
    stage_of_layer,
)

from .trainings import STEPS, record, write_run, write_training


def test_numbers_by_step_and_layer(tmp_path):
    records = [record(4, dead=0.25), record(24, dead=0.5, gap_mean=2.0)]
    records[1]['norm/backbone.layer1.0.bn1/dead'] = 0.75
    del records[0]['norm/neck.convs.0.bn/dead']
    write_run(tmp_path / 'gn', records)
    run = read_records(tmp_path / 'gn')
    assert run.name == 'gn'
    assert run.steps.tolist() == [4, 24]
    assert set(run.numbers) == {'dead', 'gap_mean'}
    column = run.layers.index('backbone.layer1.0.norm1')
    assert run.numbers['dead'][:, column].tolist() == [0.25, 0.75]
    assert np.isnan(run.numbers['gap_mean'][0]).all()
    neck = run.grouped('dead', stage_of_layer)['neck']
    assert math.isnan(neck[0])
    assert neck[1] == 0.5
    assert run.grouped('mean_in', stage_of_layer) == {}


def test_a_stage_is_the_mean_of_its_layers(tmp_path):
    first = record(4, dead=0.0)
    first['norm/backbone.layer4.0.bn2/dead'] = 0.5
    write_run(tmp_path, [first])
    means = read_records(tmp_path).grouped('dead', stage_of_layer)
    assert list(means) == [
        'backbone stem',
        'backbone.layer1',
        'backbone.layer4',
        'neck',
        'roi_head.mask_head',
    ]
    assert means['backbone.layer4'].tolist() == [0.25]


def test_layers_of_different_norms_have_the_same_places(tmp_path):
    layers = [
        read_records(write_training(tmp_path / norm, norm)).layers
        for norm in ('bn', 'gn', 'in', 'frn', 'evonorm', 'norm_layer')
    ]
    assert all(each == layers[0] for each in layers)


def test_a_resumed_training_is_joined(tmp_path):
    def run(time: str, steps: range, dead: float) -> None:
        records = [record(step, dead=dead) for step in steps]
        write_run(tmp_path, records, time)

    run('20260101_000000', range(4, 64, 20), 0.9)  # another training
    run('20260101_000001', range(4, 84, 20), 0.1)
    run('20260101_000002', range(64, 104, 20), 0.2)  # resumed at 60
    run('20260101_000003', range(104, 124, 20), 0.3)  # one record
    joined = read_records(tmp_path)
    assert joined.steps.tolist() == [4, 24, 44, 64, 84, 104]
    dead = joined.numbers['dead'][:, 0]
    assert dead.tolist() == [0.1, 0.1, 0.1, 0.2, 0.2, 0.3]


def test_the_newest_training_counts(tmp_path):
    write_run(tmp_path, [record(s, dead=0.9) for s in range(2, 99, 10)])
    records = [record(s, dead=0.1) for s in range(4, 44, 20)]
    write_run(tmp_path, records, '20260102_000000')
    assert read_records(tmp_path).steps.tolist() == [4, 24]


def test_half_of_a_last_line_is_left_out(tmp_path):
    file = write_run(tmp_path, [record(step, dead=0.5) for step in STEPS])
    file.write_text(file.read_text() + '{"norm/backbone.bn1/de')
    assert read_records(tmp_path).steps.tolist() == list(STEPS)


def test_values_that_are_not_finite(tmp_path):
    write_run(tmp_path, [record(4, bn_std=math.inf), record(24, bn_std=1.0)])
    means = read_records(tmp_path).grouped('bn_std', part_of_layer)
    assert math.isnan(means['neck'][0])
    assert means['neck'][1] == 1


def test_no_work_dir(tmp_path):
    with pytest.raises(RecordsError, match=r"absent' is not a folder$"):
        read_records(tmp_path / 'absent')


def test_no_training(tmp_path):
    with pytest.raises(RecordsError, match='name the work dir of a training'):
        read_records(tmp_path)


def test_a_training_without_the_hook(tmp_path):
    write_training(tmp_path)
    write_run(tmp_path, [], '20260102_000000')
    why = "20260102.* has no records of norms: train with .*'mmnorm.NormSt"
    with pytest.raises(RecordsError, match=why):
        read_records(tmp_path)


def test_a_resumed_training_without_a_record_yet(tmp_path):
    old = write_run(tmp_path, [record(step, dead=0.5) for step in (4, 8, 12)])
    new = write_run(tmp_path, [], '20990102_000000')
    new.write_text('{"loss": 1.0, "step": 10}\n')
    assert old != new
    with pytest.raises(RecordsError, match='has no records of norms'):
        read_records(tmp_path)
    new.with_name('config.py').write_text("type='mmnorm.NormStatsHook'")
    assert list(read_records(tmp_path).steps) == [4, 8]


@pytest.mark.parametrize(
    'line', ['{', '[]', '3', '{"norm/a/dead": 1}', '{"norm/a/dead": null}']
)
def test_a_broken_line(tmp_path, line):
    file = write_run(tmp_path, [record(4, dead=0.5)])
    file.write_text(file.read_text() + line + '\n')
    with pytest.raises(RecordsError, match=r'^line 3 of .*: remove it$'):
        read_records(tmp_path)


def test_a_file_that_is_no_text(tmp_path):
    file = write_run(tmp_path, [record(4, dead=0.5)])
    file.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(RecordsError, match='is no text file$'):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ('layer', 'stage'),
    [
        ('backbone.norm1', 'backbone stem'),
        ('backbone.stem.1', 'backbone stem'),
        ('backbone.layer4.0.downsample.1', 'backbone.layer4'),
        ('backbone.stages.0.blocks.1.norm', 'backbone.stages.0'),
        ('decode_head.aspp_modules.1.norm', 'decode_head'),
        ('roi_head.bbox_head.1.shared_convs.0.norm', 'roi_head.bbox_head'),
        ('norm1', 'norm1'),
    ],
)
def test_stages(layer, stage):
    assert stage_of_layer(layer) == stage
