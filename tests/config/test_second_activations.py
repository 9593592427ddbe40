# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmcv.cnn import ConvModule
from mmdet.models import ResNet
from torch import nn

from mmnorm import FRN, GN
from mmnorm.config.second_activations import second_activations

FRN_CFG = dict(type='mmnorm.FRN')


def test_conv_modules_with_and_without_an_activation():
    own = ConvModule(3, 8, 3, norm_cfg=FRN_CFG, act_cfg=None)
    both = ConvModule(3, 8, 3, norm_cfg=FRN_CFG)
    assert second_activations(own) is None
    sentence = second_activations(nn.Sequential(own, both, both))
    assert 'ReLU follows FRN' in sentence
    assert "in 1 module, the first of them '1'" in sentence


def test_blocks_of_a_resnet_add_an_activation():
    sentence = second_activations(ResNet(18, norm_cfg=FRN_CFG))
    assert "in 9 modules, the first of them 'the model'" in sentence


@pytest.mark.parametrize(
    'modules',
    [
        [GN(8, 4), nn.ReLU()],
        [nn.ReLU(), nn.Sequential(FRN(8))],
    ],
    ids=['another norm', 'another module'],
)
def test_other_modules(modules):
    assert second_activations(nn.Sequential(*modules)) is None
