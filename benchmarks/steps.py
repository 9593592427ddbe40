# Copyright (c) mmnorm contributors. All rights reserved.
"""Time training steps of Mask R-CNN and DeepLabV3 with each norm."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from .clock import Call, interleave, peak_bytes, seconds

MODELS_DIR = Path(__file__).parents[1] / 'configs/_base_/models'
IMAGE = (800, 1333)
CROP = (512, 1024)
NORMS = {
    'nn.BatchNorm2d': dict(type='BN'),
    'mmnorm.SyncBN': dict(type='mmnorm.SyncBN'),
    'mmnorm.GN': dict(type='mmnorm.GN'),
    'mmnorm.BCN': dict(type='mmnorm.BCN'),
    'mmnorm.SN': dict(type='mmnorm.SN'),
}


def mask_rcnn(
    norm_cfg: dict,
    device: str,
    change: Callable[[nn.Module], None] | None = None,
) -> Call:
    """Return a step of Mask R-CNN R50-FPN on one image of 800 x 1333.

    Args:
        norm_cfg: The norm of all parts.
        device: Where to run.
        change: A function that changes the model first.
    """
    cfg = Config.fromfile(MODELS_DIR / 'mask-rcnn_r50_fpn.py').model
    cfg.neck.norm_cfg = norm_cfg
    cfg.roi_head.bbox_head.norm_cfg = norm_cfg
    cfg.roi_head.mask_head.norm_cfg = norm_cfg
    data = demo_mm_inputs(
        1, [[3, *IMAGE]], num_items=[8], num_classes=80, with_mask=True
    )
    model = build(cfg, norm_cfg, 'mmdet', device)
    if change is not None:
        change(model)
    return training_step(model, data)


def deeplabv3(norm_cfg: dict, device: str) -> Call:
    """Return a step of DeepLabV3 R50 on two images of 512 x 1024.

    There are two images also on the slow CPU, because torch's batch norm
    refuses the pooled map of one image.
    """
    cfg = Config.fromfile(MODELS_DIR / 'deeplabv3_r50-d8.py').model
    cfg.decode_head.norm_cfg = norm_cfg
    cfg.auxiliary_head.norm_cfg = norm_cfg
    cfg.data_preprocessor.size = CROP
    data = dict(
        inputs=[
            torch.randint(256, (3, *CROP), dtype=torch.uint8) for _ in range(2)
        ],
        data_samples=[
            SegDataSample(
                gt_sem_seg=PixelData(data=torch.randint(19, (1, *CROP)))
            )
            for _ in range(2)
        ],
    )
    return training_step(build(cfg, norm_cfg, 'mmseg', device), data)


def build(cfg: Config, norm_cfg: dict, scope: str, device: str) -> nn.Module:
    cfg.backbone.init_cfg = None
    cfg.backbone.norm_cfg = norm_cfg
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg).to(device).train()


def training_step(model: nn.Module, data: dict) -> Call:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> None:
        inputs = model.data_preprocessor(copy.deepcopy(data), True)
        loss, _ = model.parse_losses(model(**inputs, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


TASKS = {
    'Mask R-CNN R50-FPN, 1 x 800 x 1333': mask_rcnn,
    'DeepLabV3 R50-D8, 2 x 512 x 1024': deeplabv3,
}


def time_steps(device: str, repeats: int) -> list[dict]:
    """Return a row for each model with each norm."""
    rows = []
    for task, make in TASKS.items():
        steps = {}
        for name, norm_cfg in NORMS.items():
            torch.manual_seed(0)
            steps[name] = make(norm_cfg, device)
        times = interleave(steps, partial(seconds, device=device), repeats)
        for name, values in times.items():
            row = {'model': task, 'layer': name, 's': values}
            if device == 'cuda':
                row['peak MB'] = peak_bytes([steps[name]]) / 1e6
            rows.append(row)
        print(task, flush=True)
    return rows
