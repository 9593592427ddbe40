# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from mmdet.models import ResNetV1d

from mmnorm.checkpoints import convert, load, state_of

from . import official, synthetic
from .official import resnet
from .ours import WS, assert_near, backbone, features
from .synthetic import double, images


def test_conversion_does_not_change_its_input():
    state = synthetic.bcn_file(synthetic.torchvision_file('resnet18'))
    before = {key: value.clone() for key, value in state.items()}
    convert('bcn-ws', state)
    assert state.keys() == before.keys()
    for key, value in before.items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=0)


def test_detectron():
    torchvision = synthetic.torchvision_file('resnet50')
    blobs = synthetic.detectron_file(torchvision)
    assert 'res2_0_branch2a_gn_s' in blobs
    assert 'res5_2_branch2c_w' in blobs
    assert {'conv1_w', 'conv1_gn_b', 'res3_0_branch1_gn_s'} <= blobs.keys()
    converted = convert('gn', blobs)
    assert {*converted.unused} == {'pred_w', 'pred_b'}
    assert converted.notes == []
    model = backbone(50, 'GN')
    found = load(model, converted.state_dict)
    assert not (found.missing or found.unexpected or found.mismatched)
    wanted = resnet(images(), double(torchvision), official.gn)
    for actual, expected in zip(features(model), wanted, strict=True):
        assert_near(actual, expected)


def test_gn_of_openmmlab_stays_as_it_is():
    state = backbone(50, 'GN', WS).state_dict()
    converted = convert('gn-ws', state_of({'state_dict': state, 'meta': {}}))
    assert converted.state_dict.keys() == state.keys()
    assert converted.unused == converted.warnings == []
    assert converted.notes == ['the keys are those of OpenMMLab already']


def test_deep_stem():
    with_bn = ResNetV1d(depth=18, stem_channels=32, base_channels=32)
    converted = convert('bn-gn', with_bn.state_dict())
    assert 'stem.1.weight' in converted.state_dict
    with_gn = ResNetV1d(
        depth=18,
        stem_channels=32,
        base_channels=32,
        norm_cfg=dict(type='mmnorm.GN', num_groups=16),
    )
    found = load(with_gn, converted.state_dict)
    assert not (found.missing or found.unexpected or found.mismatched)


def test_preactivation_is_refused():
    state = synthetic.sn_file(synthetic.torchvision_file('resnet18'))
    state['sn_out.weight'] = torch.ones(1, 512, 1, 1)
    with pytest.raises(
        ValueError, match='^is a ResNetV2SN, .* take a file of'
    ):
        convert('sn', state)


def test_norm_without_a_convolution_is_refused():
    state = synthetic.bcn_file(synthetic.torchvision_file('resnet18'))
    del state['layer1.0.conv2.weight']
    with pytest.raises(
        ValueError, match='has layer1.0.bn2, but no layer1.0.conv2'
    ):
        convert('bcn-ws', state)


@pytest.mark.parametrize('entry', ['running_mean', 'running_var'])
def test_file_without_statistics_is_refused(entry):
    state = synthetic.bcn_file(synthetic.torchvision_file('resnet18'))
    state = {k: v for k, v in state.items() if not k.endswith(entry)}
    with pytest.raises(ValueError, match=f'has no .*{entry}.* it is incomp'):
        convert('bcn-ws', state)
