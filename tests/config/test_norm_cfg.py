# Copyright (c) mmnorm contributors. All rights reserved.
"""Norms in whole networks, as users write them into configs."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmnorm import BCN, GN, SN, SyncBN

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
    # With one image, the pooling branch has a single value per channel.
    assert count(model, LAYERS) == 62
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(19, (1, 64, 64))),
        metainfo=dict(ori_shape=(64, 64), img_shape=(64, 64)),
    )
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[sample])
    (result,) = step_and_evaluate(model, data)
    assert result.pred_sem_seg.data.shape == (1, 64, 64)
