# Copyright (c) mmnorm contributors. All rights reserved.
"""What a training logged, read back."""

import json
from pathlib import Path


def scalars(work_dir: Path) -> list[dict]:
    """What the newest run in a work dir logged; nothing if there is none."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        return []
    return [json.loads(line) for line in files[-1].read_text().splitlines()]
