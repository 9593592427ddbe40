# Copyright (c) mmnorm contributors. All rights reserved.
"""The configs of the studies train on small copies of their data."""

import json
import math
from pathlib import Path

import mmdet.models
import mmseg.models
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from mmnorm import GN
from tests.paths import ROOT

CONFIGS = sorted((ROOT / 'studies/configs').glob('*.py'))
IMAGES = {'pennfudan': 136, 'camvid': 367, 'facade': 407}
SIDE = 96
# Two of these boxes are in each image; a box is left, top, right, bottom.
BOXES = [(8, 8, 40, 80), (48, 16, 90, 60), (10, 50, 70, 94)]


def polygon(left: float, top: float, right: float, bottom: float) -> list:
    return [left, top, right, top, right, bottom, left, bottom]


def write_instances(path: Path, names: list[str], classes: tuple) -> None:
    """Write the annotations of images, with two boxes in each of them."""
    images = [
        {'id': number, 'file_name': name, 'height': SIDE, 'width': SIDE}
        for number, name in enumerate(names, 1)
    ]
    annotations = []
    for image in images:
        for offset in range(2):
            number = image['id'] + offset
            box = BOXES[number % len(BOXES)]
            left, top, right, bottom = box
            area = (right - left) * (bottom - top)
            annotation = {
                'id': len(annotations) + 1,
                'image_id': image['id'],
                'category_id': number % len(classes) + 1,
                'bbox': [left, top, right - left, bottom - top],
                'segmentation': [polygon(*box)],
                'area': area,
                'iscrowd': 0,
            }
            annotations.append(annotation)
    categories = [
        {'id': number, 'name': name} for number, name in enumerate(classes, 1)
    ]
    content = {'images': images, 'categories': categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {'annotations': annotations}))


def write_data(cfg: Config) -> None:
    """Write a few images where a config looks for its data."""
    rng = np.random.default_rng(0)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = loader.dataset
        dataset.pop('indices', None)
        prefix, root = dataset.data_prefix, Path(dataset.data_root)
        names = [f'{number:04}' for number in range(4)]
        for folder in prefix.values():
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            pixels = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
            folder = root / prefix.get('img', prefix.get('img_path'))
            Image.fromarray(pixels).save(folder / f'{name}.jpg')
            if 'seg_map_path' in prefix:
                labels = rng.integers(
                    cfg.model.decode_head.num_classes, size=(SIDE, SIDE)
                )
                labels[:9] = 255
                image = Image.fromarray(labels.astype(np.uint8))
                image.save(root / prefix.seg_map_path / f'{name}.png')
        if 'ann_file' in dataset:
            write_instances(
                root / dataset.ann_file,
                [f'{name}.jpg' for name in names],
                dataset.metainfo.classes,
            )


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def cfg(request, tmp_path, monkeypatch) -> Config:
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(request.param)
    cfg.work_dir = 'work_dir'
    return cfg


def test_config_trains_and_evaluates(cfg):
    write_data(cfg)
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=2, val_interval=2
    )
    cfg.default_hooks.checkpoint = None
    names = ['mIoU', 'aAcc']
    if 'roi_head' in cfg.model:
        # After two steps no score is high, and the metric needs boxes.
        cfg.model.test_cfg.rcnn.score_thr = 0.0
        names = ['coco/bbox_mAP', 'coco/segm_mAP']
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    for name in names:
        value = runner.message_hub.get_scalar(f'val/{name}').current()
        assert math.isfinite(value)


def test_schedule_ends_with_the_training(cfg):
    data = Path(cfg.train_dataloader.dataset.data_root).name
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.auto_scale_lr.base_batch_size == 1
    steps = cfg.train_cfg.get('max_iters')
    if steps is None:
        steps = cfg.train_cfg.max_epochs * IMAGES[data]
    assert cfg.param_scheduler[-1].end == steps
    assert all(not scheduler.by_epoch for scheduler in cfg.param_scheduler)


def test_every_norm_is_named_and_starts_at_random(cfg):
    scope = {'mmdet': mmdet.models, 'mmseg': mmseg.models}
    assert cfg.default_scope in scope
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        torch.device('meta'),
    ):
        model = MODELS.build(cfg.model)
    kinds = {
        type(module)
        for module in model.modules()
        if isinstance(module, (nn.GroupNorm, nn.modules.batchnorm._NormBase))
    }
    assert kinds == {GN}
    assert cfg.model.backbone.init_cfg is None
    assert cfg.model.backbone.zero_init_residual is False


def test_classes_of_the_heads(cfg):
    count = len(cfg.train_dataloader.dataset.metainfo.classes)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.metainfo == cfg.train_dataloader.dataset.metainfo
    heads = [cfg.model.get('decode_head'), cfg.model.get('auxiliary_head')]
    if 'roi_head' in cfg.model:
        heads = [cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head]
    assert [head.num_classes for head in heads] == [count, count]
