# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmnorm.checkpoints import convert, load, state_of

from . import official, synthetic
from .ours import WS, assert_near
from .synthetic import double, images, measured


def deeplab_model(**head) -> nn.Module:
    norm_cfg = dict(type='mmnorm.BCN', num_groups=32)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(
            dict(
                type='EncoderDecoder',
                backbone=dict(
                    type='ResNet',
                    depth=50,
                    strides=(1, 2, 2, 1),
                    dilations=(1, 1, 1, 2),
                    contract_dilation=True,
                    norm_cfg=norm_cfg,
                    conv_cfg=WS,
                ),
                decode_head=dict(
                    type='ASPPHead',
                    in_channels=2048,
                    in_index=3,
                    channels=256,
                    dilations=(1, 6, 12, 18),
                    num_classes=21,
                    align_corners=True,
                    norm_cfg=norm_cfg,
                    conv_cfg=WS,
                ),
                test_cfg=dict(mode='whole'),
            )
        )


def test_deeplab():
    x = images(65)
    theirs = measured(
        synthetic.deeplab_file('resnet50'),
        lambda state, norm: official.deeplab(x, state, norm),
        official.bcn,
        '.pbn',
    )
    checkpoint = {
        'epoch': 50,
        'state_dict': {f'module.{k}': v for k, v in theirs.items()},
        'optimizer': {},
    }
    converted = convert('bcn-ws-deeplab', state_of(checkpoint))
    assert converted.unused == converted.warnings == []
    model = deeplab_model()
    found = load(model, converted.state_dict)
    assert not (found.missing or found.unexpected or found.mismatched)
    model.double().eval()
    scores = model.decode_head(model.backbone(x))
    scores = nn.functional.interpolate(
        scores, x.shape[2:], mode='bilinear', align_corners=True
    )
    assert_near(scores, official.deeplab(x, double(theirs), official.bcn))


def test_deep_stem_is_unused():
    # The authors have no norm between the three convolutions, OpenMMLab has.
    state = synthetic.deeplab_file('resnet50')
    del state['conv1.weight']
    stem = {f'conv1.{i}.weight': torch.ones(64, 3, 3, 3) for i in range(3)}
    converted = convert('bcn-ws-deeplab', state | stem)
    assert converted.unused == list(stem)
    assert 'backbone.conv1.weight' not in converted.state_dict


def test_incomplete_file_is_refused():
    state = synthetic.deeplab_file('resnet50')
    del state['aspp.conv2.weight']
    with pytest.raises(ValueError, match='has no aspp.conv2.weight'):
        convert('bcn-ws-deeplab', state)
