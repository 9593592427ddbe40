# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms in whole networks, as users write them into configs."""

from pathlib import Path

import pytest
import torch
from mmcv.cnn import is_norm
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import BatchNorm2d

from mmnorm import BCN, GN, SN, ConvWS, SyncBN

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(p for p in ROOT.glob('*/*.py') if p.parent.name[0] != '_')
LAYERS = (BCN, GN, SN, SyncBN)


def build(cfg: Config, scope: str) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg.model)


def step_and_evaluate(model: torch.nn.Module, data: dict) -> list:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    model.train()
    inputs = model.data_preprocessor(data, True)
    losses, _ = model.parse_losses(model(**inputs, mode='loss'))
    assert losses.isfinite()
    losses.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        return model(**model.data_preprocessor(data), mode='predict')


def count(model: torch.nn.Module, kinds: type | tuple) -> int:
    return sum(isinstance(m, kinds) for m in model.modules())


@pytest.mark.parametrize('name', ['BCN', 'mmnorm.BCN', 'SN', 'GN'])
def test_norm_cfg_in_an_unmodified_mask_rcnn(name):
    cfg = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.init_cfg = None  # nothing to download here
    cfg.model.backbone.norm_cfg = dict(type=name)
    model = build(cfg, 'mmdet')
    assert count(model.backbone, LAYERS) == 53
    data = demo_mm_inputs(1, [[3, 64, 96]], num_classes=80, with_mask=True)
    (result,) = step_and_evaluate(model, data)
    assert isinstance(result, DetDataSample)
    assert result.pred_instances.masks.shape[1:] == (64, 96)


@pytest.mark.parametrize('name', ['BCN', 'SN', 'GN'])
def test_norm_cfg_in_an_unmodified_deeplab(name):
    cfg = get_config(
        'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py'
    )
    cfg.model.pretrained = None
    cfg.model.data_preprocessor.size = (64, 64)
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        cfg.model[part].norm_cfg = dict(type=name)
    model = build(cfg, 'mmseg')
    # One image on one process: its pooling branch has one value a channel.
    assert count(model, LAYERS) == 62
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(19, (1, 64, 64))),
        metainfo=dict(ori_shape=(64, 64), img_shape=(64, 64)),
    )
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[sample])
    (result,) = step_and_evaluate(model, data)
    assert result.pred_sem_seg.data.shape == (1, 64, 64)


def parts_of(cfg: Config) -> list:
    model = cfg.model
    heads = (model.roi_head.bbox_head, model.roi_head.mask_head)
    return [model.backbone, model.neck, *heads]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_is_what_its_name_says(path):
    """``mask-rcnn_r50_fpn_bcn-ws-all_8xb1-2x_coco`` and its like."""
    _, depth, _, norm, training, data = path.stem.split('_')
    norm, _, has_ws = norm.removesuffix('-all').partition('-')
    batch, _, schedule = training.partition('-')
    gpus, _, per_gpu = batch.partition('xb')
    assert len(path.read_text().splitlines()) <= 25
    cfg = Config.fromfile(path)

    assert cfg.model.backbone.depth == int(depth[1:])
    for part in parts_of(cfg):
        assert part.norm_cfg.type.removeprefix('mmnorm.').lower() == norm
        conv = (part.get('conv_cfg') or dict(type='Conv'))['type']
        assert conv == ('mmnorm.ConvWS' if has_ws else 'Conv')
        if norm == 'sn' and batch == '1xb1' and data != 'mini-coco':
            assert part.norm_cfg.use_bn is False
    assert cfg.model.backbone.norm_eval is False
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0

    assert cfg.train_dataloader.batch_size == int(per_gpu)
    images = int(gpus) * int(per_gpu)
    assert cfg.auto_scale_lr.base_batch_size == images
    rate = {'coco': 0.02 / 16, 'cityscapes': 0.01 / 8, 'mini-coco': 1e-3}
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == pytest.approx(rate[data] * images)
    epochs = {'2x': 24, '3e': 3, '': 8}[schedule]
    assert cfg.train_cfg.max_epochs == epochs
    root = {'mini-coco': 'mini_coco'}.get(data, data)
    assert cfg.data_root == f'data/{root}/'


@pytest.mark.parametrize(
    'path',
    [p for p in CONFIGS if '_8xb1-2x_coco' in p.stem or 'mini' in p.stem],
    ids=lambda path: path.stem,
)
def test_config_builds_with_its_norm_alone(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None  # nothing to download here
    model = build(cfg, cfg.default_scope)
    norm = path.stem.split('_')[3].removesuffix('-all').removesuffix('-ws')
    kinds = dict(bn=BatchNorm2d, gn=GN, bcn=BCN, sn=SN, syncbn=SyncBN)
    heads = (model.roi_head.bbox_head, model.roi_head.mask_head)
    for part in (model.backbone, model.neck, *heads):
        found = {type(m) for m in part.modules() if is_norm(m)}
        # The batch part of BCN is a batch norm inside of it.
        expected = (
            {kinds[norm], BatchNorm2d} if norm == 'bcn' else {kinds[norm]}
        )
        assert found == expected
    assert bool(count(model, ConvWS)) == ('-ws-' in path.stem)


def test_mini_config_steps_on_one_image():
    cfg = Config.fromfile(
        ROOT / 'mini/mask-rcnn_r18_fpn_bcn-ws-all_1xb1-3e_mini-coco.py'
    )
    model = build(cfg, 'mmdet')
    data = demo_mm_inputs(1, [[3, 160, 160]], num_classes=10, with_mask=True)
    step_and_evaluate(model, data)
