# Copyright (c) mmnorm contributors. All rights reserved.
"""The scalars that a training has logged."""

import json
from pathlib import Path


def scalars(work_dir: Path) -> list[dict]:
    """Return the records of the newest run in a work dir, if there is one."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        return []
    # A training that was killed may have written half of the last line.
    *lines, _ = files[-1].read_text().split('\n')
    return [json.loads(line) for line in lines]
