# Copyright (c) mmnorm contributors. All rights reserved.
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from mmnorm.config.check_data import check_data


def write_image(path: Path, ids: object = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0] = ids
    Image.fromarray(pixels).save(path)


def found(cfg: dict) -> list[tuple[str, str, str]]:
    """Return role, status and details of each row."""
    return [(r.role, r.status, r.details) for r in check_data(Config(cfg))]
