# Copyright (c) mmnorm contributors. All rights reserved.
"""The configs: each is what its name says, and builds.

Names are ``architecture_backbone[_neck]_norms_training_data``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmcv.cnn import is_norm
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg import datasets
from torch.nn import BatchNorm2d

from mmnorm import BCN, GN, SN, ConvWS, SyncBN

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(p for p in ROOT.glob('*/*.py') if p.parent.name[0] != '_')
KINDS = dict(bn=BatchNorm2d, gn=GN, bcn=BCN, sn=SN, syncbn=SyncBN)
# Learning rates of mmdet and mmseg, an image.
RATES = {
    'coco': 0.02 / 16,
    'cityscapes': 0.01 / 8,
    'cityscapes-512x1024': 0.01 / 8,
    'cityscapes-769x769': 0.01 / 8,
    'coco-stuff164k-512x512': 0.01 / 16,
    'voc12aug-512x512': 0.01 / 16,
    'mini-coco': 1e-3,
    'mini-cityscapes': 1e-3,
}
EPOCHS = {'1x': 12, '2x': 24, 'scratch-6x': 73, '3e': 3, '': 8}
ROOTS = {
    'coco-stuff164k': 'coco_stuff164k',
    'voc12aug': 'VOCdevkit/VOC2012',
    'mini-coco': 'mini_coco',
    'mini-cityscapes': 'mini_cityscapes',
}


class Name(NamedTuple):
    architecture: str
    depth: int
    norm: str
    options: tuple[str, ...]  # ws, nobn, slow
    gpus: int
    per_gpu: int
    schedule: str
    data: str

    @classmethod
    def parse(cls, stem: str) -> 'Name':
        architecture, backbone, *_, norms, training, data = stem.split('_')
        norm, *options = norms.removesuffix('-all').split('-')
        if backbone.endswith('-ws'):
            options.append('ws')
        batch, _, schedule = training.partition('-')
        gpus, per_gpu = map(int, batch.split('xb'))
        depth = int(re.match(r'r(\d+)', backbone)[1])
        rest = gpus, per_gpu, schedule, data
        return cls(architecture, depth, norm, tuple(options), *rest)


def parts_of(model) -> Iterator[tuple[str, object]]:
    """Backbone, neck and heads, of a model or of its config."""
    for parent in (model, getattr(model, 'roi_head', None)):
        for name in (
            'backbone',
            'neck',
            'bbox_head',
            'mask_head',
            'decode_head',
            'auxiliary_head',
        ):
            part = getattr(parent, name, None)
            if part is not None:
                yield name, part


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_is_what_its_name_says(path):
    name = Name.parse(path.stem)
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    cfg = Config.fromfile(path)

    semantic = 'decode_head' in cfg.model
    assert cfg.model.backbone.depth == name.depth
    parts = dict(parts_of(cfg.model))
    assert len(parts) == dict(mask=4, faster=3).get(path.stem.split('-')[0], 3)
    for key, part in parts.items():
        assert part.norm_cfg.type.removeprefix('mmnorm.').lower() == name.norm
        # In the heads of DeepLab, others found WS to do harm.
        is_ws = 'ws' in name.options and (key == 'backbone' or not semantic)
        conv = (part.get('conv_cfg') or dict(type='Conv'))['type']
        assert conv == ('mmnorm.ConvWS' if is_ws else 'Conv')
        if name.norm == 'sn':
            assert part.norm_cfg.get('use_bn', True) == (
                'nobn' not in name.options
            )
    assert cfg.model.backbone.norm_eval is False
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0

    images = name.gpus * name.per_gpu
    if path.parent.name == 'sn':
        assert ('nobn' in name.options) == (images == 1)
    if path.parent.name == 'bcn':
        assert ('slow' in name.options) == (name.gpus == 1)
        momenta = {part.norm_cfg.get('momentum') for part in parts.values()}
        assert momenta == ({0.1 / 8} if name.gpus == 1 else {None})
    assert cfg.train_dataloader.batch_size == name.per_gpu
    assert cfg.auto_scale_lr.base_batch_size == images
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == pytest.approx(RATES[name.data] * images)
    if semantic:
        check_semantic(cfg, name)
    else:
        assert cfg.train_cfg.max_epochs == EPOCHS[name.schedule]
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs or (
            name.data == 'mini-coco'
        )
    if 'scratch' in name.schedule:
        backbone = cfg.model.backbone
        assert backbone.init_cfg is None
        assert backbone.frozen_stages == -1
        assert backbone.zero_init_residual is False

    data = re.sub(r'-\d+x\d+$', '', name.data)
    assert cfg.data_root.rstrip('/') == f'data/{ROOTS.get(data, data)}'


def check_semantic(cfg: Config, name: Name) -> None:
    steps = cfg.train_cfg.max_iters
    assert name.schedule == f'{steps / 1000:g}k'
    scheduler = cfg.param_scheduler[-1]
    assert scheduler.end == steps
    assert steps % cfg.train_cfg.val_interval == 0
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
    if name.data == 'cityscapes-512x1024':
        images = steps * name.gpus * name.per_gpu
        assert images in (8 * 40000, 8 * 80000)
        lr = cfg.optim_wrapper.optimizer.lr
        assert scheduler.eta_min == pytest.approx(lr / 100)
    crops = [
        step.crop_size
        for step in cfg.train_pipeline
        if step.type == 'RandomCrop'
    ]
    size = re.search(r'-(\d+)x(\d+)$', name.data)
    if size is not None:
        assert crops == [tuple(map(int, size.groups()))]
    assert [tuple(cfg.model.data_preprocessor.size)] == crops
    data_set = getattr(datasets, cfg.val_dataloader.dataset.type)
    classes = data_set.METAINFO['classes']
    assert cfg.model.decode_head.num_classes == len(classes)
    assert cfg.model.auxiliary_head.num_classes == len(classes)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds_with_its_norm_alone(path):
    name = Name.parse(path.stem)
    cfg = Config.fromfile(path)
    # Without memory or time for weights; training has its own test.
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with scope, torch.device('meta'):
        model = MODELS.build(cfg.model)
    expected = {KINDS[name.norm]}
    if name.norm == 'bcn':  # its batch part is a batch norm
        expected.add(BatchNorm2d)
    for key, part in parts_of(model):
        found = {type(m) for m in part.modules() if is_norm(m)}
        assert found == expected, key
    has_ws = any(isinstance(m, ConvWS) for m in model.modules())
    assert has_ws == ('ws' in name.options)
