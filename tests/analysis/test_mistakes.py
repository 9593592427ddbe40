# Copyright (c) mmnorm contributors. All rights reserved.
"""Each known mistake is found where it was made.

The tests of the configs look for mistakes in our own configs.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmnorm.analysis import find_mistakes, level_calls
from mmnorm.config.build_model import build_model
from tests.configs.zoo import ROOT, build

MASK_RCNN = ROOT / 'bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco.py'
SCRATCH = ROOT / 'bcn/mask-rcnn_r50_fpn_bcn-all_8xb1-scratch-6x_coco.py'
MINI = ROOT / 'mini/mask-rcnn_r18_fpn_gn-all_1xb1-3e_mini-coco.py'
GN_CFG = dict(type='mmnorm.GN')
BN_CFG = dict(_delete_=True, type='BN')
FROZEN = dict(BN_CFG, requires_grad=False)
ALL = {
    f'model.{part}.norm_cfg': BN_CFG
    for part in (
        'backbone',
        'neck',
        'roi_head.bbox_head',
        'roi_head.mask_head',
    )
}


def mistakes(path: Path, options: dict, weights: dict | None = None) -> list:
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    return find_mistakes(build(cfg), cfg, weights)


@pytest.mark.parametrize(
    ('options', 'sentence', 'key', 'count'),
    [
        (
            {'model.backbone.norm_eval': True},
            # Stem and first stage are frozen, which says that they stay.
            '42 BCN of backbone stay in evaluation during training',
            'model.backbone.norm_eval=False',
            42,
        ),
        (
            {'model.neck.norm_cfg': None},
            'the backbone trains BCN, and neck has no norm',
            'model.neck.norm_cfg',
            0,
        ),
        (
            {
                'model.roi_head.bbox_head.type': 'Shared2FCBBoxHead',
                'model.roi_head.bbox_head.norm_cfg': None,
            },
            'the backbone trains BCN, and roi_head.bbox_head has no norm',
            "model.roi_head.bbox_head.type='Shared4Conv1FCBBoxHead' and mod",
            0,
        ),
        (
            {'model.backbone.norm_cfg': dict(_delete_=True, **GN_CFG)},
            '53 GN of backbone start from weights that were trained with BN',
            'model.backbone.init_cfg.checkpoint',
            53,
        ),
        (
            {'model.backbone.conv_cfg': dict(type='mmnorm.ConvWS')},
            # Stem and first stage; a training adapts the others.
            '11 convolutions of backbone standardize frozen weights that '
            'were trained without',
            'model.backbone.frozen_stages=-1, or model.backbone.conv_cfg',
            11,
        ),
        (
            {
                'model.backbone.norm_cfg': FROZEN,
                'model.backbone.init_cfg': None,
            },
            '11 torch BatchNorm2d of backbone are frozen, and no weights are',
            'model.backbone.frozen_stages=-1',
            11,
        ),
        (
            {'model.backbone.norm_cfg': BN_CFG},
            '42 torch BatchNorm2d of backbone take the statistics of a batch '
            'from one image',
            "model.backbone.norm_cfg={'type': 'mmnorm.BCN'}",
            42,
        ),
        (
            {
                'model.backbone.norm_cfg': FROZEN,
                'train_dataloader.batch_size': 4,
            },
            '42 torch BatchNorm2d of backbone are frozen, but their statis',
            'model.backbone.norm_eval=True',
            42,
        ),
        (
            {
                'model.backbone.norm_cfg': dict(FROZEN, type='mmnorm.SN'),
                'train_dataloader.batch_size': 4,
            },
            '42 SN of backbone are frozen, but their statistics',
            'model.backbone.norm_cfg.requires_grad=True',
            42,
        ),
    ],
)
def test_a_mistake_that_was_made(options, sentence, key, count):
    (mistake, *_) = [
        m for m in mistakes(MASK_RCNN, options) if sentence in m.sentence
    ]
    assert mistake.key.startswith(key)
    assert len(mistake.norms) == count


def test_frozen_batch_norm_of_mmdet_is_no_mistake():
    options = {**ALL, 'model.backbone.norm_eval': True}
    options |= {'train_dataloader.batch_size': 2}
    assert mistakes(MASK_RCNN, options) == []


def test_weights_of_another_norm_and_without_standardization():
    conv_cfg = {'model.backbone.conv_cfg': dict(type='mmnorm.ConvWS')}
    weights = {'backbone.gn1.weight': torch.ones(64)}
    assert mistakes(MINI, conv_cfg, weights) == []
    weights['backbone.bn1.running_mean'] = torch.ones(64)
    weights['backbone.conv1.weight'] = torch.randn(64, 3, 7, 7) + 1
    first, second = mistakes(MINI, conv_cfg, weights)
    assert '20 GN of backbone start from weights' in first.sentence
    assert second.norms == ['backbone.conv1']
    weights['backbone.conv1.weight'] -= 1
    assert mistakes(MINI, conv_cfg, weights) == [first]


def test_branches_that_no_gradient_reaches():
    cfg = Config.fromfile(MINI)
    cfg.merge_from_dict(
        {'model.backbone.norm_cfg': dict(_delete_=True, type='mmnorm.BCN')}
    )
    model = build_model(cfg)
    norm = model.backbone.layer1[0].bn2
    nn.init.zeros_(norm.weight)
    assert find_mistakes(model, cfg) == []
    nn.init.zeros_(norm.bn.weight)
    (mistake,) = find_mistakes(model, cfg)
    assert mistake.norms == ['backbone.layer1.0.bn2']
    assert '1 BCN of backbone give 0 for every input' in mistake.sentence
    assert mistake.key == 'model.backbone.zero_init_residual=False'


def test_zero_init_residual_of_mmdet_kills_no_branch():
    cfg = Config.fromfile(SCRATCH)
    cfg.model.backbone.zero_init_residual = True
    cfg.model.backbone.depth = 18
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    model = build_model(cfg)
    model.backbone.init_weights()
    assert not model.backbone.layer1[0].bn2.weight.any()
    assert find_mistakes(model, cfg) == []


@pytest.mark.parametrize(('norm', 'count'), [('BCN', 8), ('GN', 0)])
def test_levels_that_share_running_statistics(norm, count):
    cfg = Config.fromfile(MINI)
    cfg.model = dict(
        type='RetinaNet',
        backbone=cfg.model.backbone,
        neck=cfg.model.neck,
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=64,
            feat_channels=64,
            norm_cfg=dict(type=f'mmnorm.{norm}'),
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=[8, 16, 32, 64, 128],
            ),
        ),
    )
    model = build_model(cfg)
    calls = level_calls(model)
    found = find_mistakes(model, cfg, None, calls)
    assert set(calls.values()) == {5}
    assert len(calls) == 8
    assert sum(len(m.norms) for m in found) == count
    for mistake in found:
        assert 'share running statistics over 5 levels' in mistake.sentence
        assert mistake.key == "model.bbox_head.norm_cfg={'type': 'mmnorm.GN'}"


def test_levels_of_a_pyramid_that_needs_a_gpu():
    class Neck(nn.Module):
        def forward(self, x):
            raise RuntimeError('implementation for device cpu not found')

    class Detector(nn.Module):
        def extract_feat(self, x):
            return Neck()(x)

    class Fusion(nn.Sequential):
        def forward(self, x, words):
            return super().forward(x)

    model = Detector()
    model.bbox_head = nn.Sequential(nn.BatchNorm2d(3))
    assert level_calls(model) == {}
    model.extract_feat = lambda x: x
    assert level_calls(model) == {'bbox_head.0': 1}
    model.bbox_head = Fusion(nn.BatchNorm2d(3))
    assert level_calls(model) == {}
