# Copyright (c) mmnorm contributors. All rights reserved.
"""Unknown layers of a config are named, with their key and near names."""

import pytest
from mmdet.models import ResNet
from mmengine.config import Config
from torch import nn

from mmnorm.config.layer_types import layer_type_error

from .test_apply_norm import DEEPLAB, MASK_RCNN


def error(scope: str | None, **model: object) -> str | None:
    return layer_type_error(Config(dict(default_scope=scope, model=model)))


@pytest.mark.parametrize('path', [MASK_RCNN, DEEPLAB])
@pytest.mark.parametrize('name', ['BCN', 'mmnorm.BCN', 'SyncBN', 'GN'])
def test_known_types(path, name):
    cfg = Config.fromfile(path)
    cfg.model.backbone.norm_cfg = dict(type=name)
    cfg.model.backbone.conv_cfg = dict(type='mmnorm.ConvWS')
    assert layer_type_error(cfg) is None


@pytest.mark.parametrize(
    ('key', 'name', 'layer', 'names'),
    [
        ('norm_cfg', 'BCM', 'norm', "'BCN', 'BN' or 'mmnorm.BCN'"),
        ('norm_cfg', 'mmnorm.BCM', 'norm', "'mmnorm.BCN', 'mmnorm."),
        ('norm_cfg', 'syncbn', 'norm', "'SyncBN', 'mmnorm.SyncBN' or "),
        ('conv_cfg', 'ConvWSS', 'convolution', "'ConvWS', 'ConvAWS' or "),
        ('conv_cfg', 'DCNv3', 'convolution', "'DCNv2', 'deconv3d' or "),
        ('act_norm_cfg', 'BCM', 'norm', "'BCN', 'BN' or "),
    ],
)
def test_unknown_type(key, name, layer, names):
    sentence = error('mmdet', backbone={key: dict(type=name)})
    start = f'model.backbone.{key}.type={name!r} is not the name of a '
    advice = f'registered {layer}: set it to a name such as {names}'
    assert sentence.startswith(start + advice)


def test_key_of_a_member_of_a_list():
    heads = [dict(norm_cfg=dict(type=name)) for name in ('BN', 'BM')]
    sentence = error('mmdet', roi_head=dict(bbox_head=heads))
    assert sentence.startswith("model.roi_head.bbox_head.1.norm_cfg.type='BM'")


def test_scope_of_a_part():
    # mmdet has NormedConv2d, mmseg does not.
    part = dict(conv_cfg=dict(type='NormedConv2d'))
    assert error('mmseg', neck=part) is not None
    assert error('mmdet', neck=part) is None
    assert error('mmseg', neck=dict(_scope_='mmdet', **part)) is None


def test_types_that_are_not_layers_of_a_name():
    part = dict(type='NoSuchNet', norm_cfg=dict(type=nn.BatchNorm2d))
    assert error('mmdet', backbone=part, conv_cfg=None) is None
    assert error('mmdet', backbone=dict(type=ResNet, norm_cfg={})) is None
    assert layer_type_error(Config(dict(model=None))) is None


def test_scope_of_a_part_of_another_package():
    # mmpretrain has LN2d, mmdet does not.
    part = dict(type='mmpretrain.ConvNeXt', norm_cfg=dict(type='LN2d'))
    assert error('mmdet', backbone=part) is None
    assert error('mmdet', backbone=dict(part, type='ResNet')) is not None
    part['norm_cfg'] = dict(type='LN3d')
    assert error('mmdet', backbone=part) is not None
