# Copyright (c) mmnorm contributors. All rights reserved.
import math

import pytest

from mmnorm.analysis.untrained.rows import read_rows
from tests.paths import CONFIG

COMMAND = 'analysis_tools/analyze_init.py'
SMALL = ('--num-images', 8, '--size', 16, '--group-sizes', 16)


def test_a_network_of_the_paper(succeeds, tmp_path):
    out = tmp_path / 'out'
    norms = ('--norms', 'IN', 'LN', 'EvoNormS0', 'none+ScaledWS')
    of_tool = (*norms, '--network', 'resnet20', *SMALL, '--out', out)
    text = succeeds(COMMAND, *of_tool)
    rows = read_rows(out / 'measures.csv')
    norms = list(dict.fromkeys(row.norm for row in rows))
    assert norms == [*norms[:4], 'GN-size-16']
    measures = {row.measure for row in rows}
    assert {'activation variance', 'gradient norm'} < measures
    assert all(math.isfinite(row.value) for row in rows)
    sizes = {r.norm: r.group_size for r in rows if r.channels == 128}
    assert (sizes['IN'], sizes['GN-size-16'], sizes['LN']) == (1, 16, 128)
    assert (out / 'resnet20.png').read_bytes().startswith(b'\x89PNG')
    table = (out / 'table.md').read_text()
    assert '| none+ScaledWS |' in table
    assert '| resnet20 | norms of activations prevent' in table
    assert '| GN-size-16 |' in text


def test_the_backbone_of_a_config(succeeds, tmp_path):
    succeeds(COMMAND, CONFIG, '--norms', 'GN', *SMALL, '--out', tmp_path)
    rows = read_rows(tmp_path / 'measures.csv')
    assert {row.network for row in rows} == {CONFIG.stem}
    assert 'layer1.0.relu#2' in {row.name for row in rows}
    assert (tmp_path / f'{CONFIG.stem}.png').is_file()


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('none.py',), "config 'none.py' does not exist"),
        (('--norms', 'GM'), "norm 'GM' is unknown"),
        (('--num-images', 7), '--num-images is 7: use 8 or more'),
        (
            ('--norms', 'GN', '--group-sizes', 12),
            '32 channels have no groups of 12',
        ),
        (('--images', 'none'), "'none' has no image"),
        ((CONFIG, '--network', 'vgg10'), 'name a config or --network'),
    ],
)
def test_mistakes(command, arguments, sentence):
    ended = command(COMMAND, *arguments)
    assert ended.status != 0
    last = ended.err.splitlines()[-1]
    assert last.startswith('analyze_init.py: error: ')
    assert sentence in last


def test_folder_that_cannot_be_made(command, tmp_path):
    file = tmp_path / 'file'
    file.touch()
    ended = command('analysis_tools/analyze_init.py', '--out', file)
    assert ended.status == 1
    assert f"--out '{file}' cannot be made: File exists" in ended.err
