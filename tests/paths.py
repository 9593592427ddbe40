# Copyright (c) mmnorm contributors. All rights reserved.
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / (
    'configs/mini/mask-rcnn_r18_fpn_bcn-ws-all_1xb1-3e_mini-coco.py'
)
