# Copyright (c) mmnorm contributors. All rights reserved.
from studies.records import scalars


def test_half_of_a_last_line(tmp_path):
    file = tmp_path / '20260101/vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('{"loss": 1.0, "step": 50}\n{"loss": 1.0, "st')
    assert scalars(tmp_path) == [{'loss': 1.0, 'step': 50}]
    assert scalars(tmp_path / 'none') == []
