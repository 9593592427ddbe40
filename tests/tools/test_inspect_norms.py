# Copyright (c) mmnorm contributors. All rights reserved.
"""One command lists the norms of a config, and nothing else."""

import json

from tests.paths import CONFIG

TOOL = 'analysis_tools/inspect_norms.py'


def test_json_is_all_that_it_prints(tool):
    options = ('--json', '--cfg-options', 'model.backbone.norm_eval=True')
    done = tool(TOOL, CONFIG, *options)
    # mmengine logs a line per parameter, also to standard output.
    found = json.loads(done.stdout)
    assert len(found['norms']) == 36
    first = found['norms'][0]
    assert (first['name'], first['type']) == ('backbone.bn1', 'BCN')
    assert first['weight decay'] == 0.0
    (mistake,) = found['mistakes']
    assert mistake['key'] == 'model.backbone.norm_eval=False'
