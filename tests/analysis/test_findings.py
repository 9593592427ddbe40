# Copyright (c) mmnorm contributors. All rights reserved.
from mmnorm.analysis.findings import findings
from mmnorm.analysis.records import read_records

from .trainings import SN, record, write_run, write_training

SHARES = dict(zip(SN, (0.5, 0.25, 0.25, 1.0, 0.0, 0.0), strict=True))


def sentences(*work_dirs) -> list[str]:
    return findings([read_records(each) for each in work_dirs])


def test_the_stage_with_the_highest_number(tmp_path):
    records = [record(step, dead=0.0) for step in range(4, 124, 20)]
    for each in records[1:]:  # the last five
        each['norm/backbone.layer4.0.bn2/dead'] = 0.24
    write_run(tmp_path / 'gn', records)
    write_training(tmp_path / 'bcn', bn_mean=0.1)
    first, dead, mean, std = sentences(tmp_path / 'gn', tmp_path / 'bcn')
    assert first.endswith('over the last records: steps 24 to 104.')
    assert dead == (
        'At the end, 12 % of the channels of backbone.layer4 are dead with '
        'gn, 6 % with bcn.'
    )
    assert '0.10 of the weight away from those of BN with bcn.' in mean
    assert 'by a factor of 1.28 with bcn.' in std


def test_no_dead_channels(tmp_path):
    write_run(tmp_path, [record(4, dead=0.004)])
    assert sentences(tmp_path)[1] == (
        'At the end, less than 1 % of the channels of each stage are dead.'
    )


def test_shares(tmp_path):
    found = sentences(write_training(tmp_path / 'sn', **SHARES))
    assert found[-1] == (
        'At the end, sn takes the means of roi_head.mask_head from 50 % IN, '
        '25 % LN, 25 % BN, and the variances from 100 % IN, 0 % LN, 0 % BN.'
    )


def test_trainings_of_different_length(tmp_path):
    write_run(tmp_path / 'gn', [record(4, dead=0.5)])
    first = sentences(tmp_path / 'gn', write_training(tmp_path / 'bn'))[0]
    assert first.endswith('steps 4 to 4 of gn, steps 24 to 104 of bn.')
