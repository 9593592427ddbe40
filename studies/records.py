# Copyright (c) mmnorm contributors. All rights reserved.
"""The scalars that a training has logged."""

import json
from pathlib import Path


def scalars(work_dir: Path) -> list[dict]:
    """Return the records of the newest run in a work dir, if there is one."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        return []
    return [json.loads(line) for line in files[-1].read_text().splitlines()]
