# Copyright (c) mmnorm contributors. All rights reserved.
from functools import partial

import pytest
import torch
from mmcv.cnn import ConvAWS2d, ConvWS2d
from torch import nn

from mmnorm import BCN, ConvWS, ScaledConvWS
from mmnorm.checkpoints import load, standardization_warnings


def model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), BCN(32))


def test_entries_that_the_layers_translate_match():
    state = nn.Sequential(model()[0], nn.BatchNorm2d(32)).state_dict()
    state['1.running_mean'] = torch.full((32,), 3.0)
    target = model()
    found = load(target, state)
    assert found.matched == [*target.state_dict()]
    assert found.missing == found.unexpected == found.mismatched == []
    assert target[1].bn.running_mean.eq(3).all()
    assert '1.running_mean' in state


def test_each_key_is_reported_once():
    state = model().state_dict()
    state['1.weight'] = torch.ones(16)
    state['head.weight'] = state.pop('1.bn.running_var')
    found = load(model(), state)
    assert found.missing == ['1.bn.running_var']
    assert found.unexpected == ['head.weight']
    assert found.mismatched == ['1.weight [16], model [32]']
    assert found.matched == [
        '0.weight',
        '1.bias',
        '1.bn.weight',
        '1.bn.bias',
        '1.bn.running_mean',
        '1.bn.num_batches_tracked',
    ]


def test_number_of_batches_matches_only_with_its_statistics():
    state = {'1.weight': torch.ones(32)}
    assert load(model(), state).matched == ['1.weight']
    state['1.bn.running_mean'] = torch.zeros(32)
    found = load(model(), state).matched
    assert '1.bn.num_batches_tracked' in found


def convs(conv: type) -> nn.Sequential:
    layers = (conv(32, 32, 3, bias=False) for _ in range(3))
    return nn.Sequential(*layers, nn.Conv2d(32, 8, 1))


def test_standardization():
    for conv, trained, standardized, expected in (
        (ConvWS, False, False, None),  # random filters look standardized
        (ConvWS, True, False, '3 convolutions of the model standardize'),
        (ConvWS, True, True, None),  # convert has warned already
        (nn.Conv2d, True, False, None),
        (nn.Conv2d, False, True, 'the first of them 0, do not standardize'),
    ):
        target = convs(conv)
        if trained:
            for layer in target:
                layer.weight.data += 0.2 * layer.weight.std()
        warnings = standardization_warnings(
            target, [*target.state_dict()], standardized
        )
        assert len(warnings) == (expected is not None)
        assert expected is None or expected in warnings[0]


@pytest.mark.parametrize(
    ('conv', 'inside', 'is_other'),
    [
        (ConvWS, False, False),
        (ConvWS, True, True),
        (partial(ConvWS, eps_inside_root=True), True, False),
        (partial(ConvWS, eps_inside_root=True), False, True),
        (partial(ConvWS, unbiased=False), False, True),
        (ScaledConvWS, True, True),
        (ConvWS2d, False, False),
        (ConvWS2d, True, True),
        (ConvAWS2d, True, True),  # its buffers undo the standardization
    ],
)
def test_form_of_standardization(conv, inside, is_other):
    target = convs(conv)
    keys = [*target.state_dict()]
    warnings = standardization_warnings(target, keys, True, inside)
    assert len(warnings) == is_other
    if warnings:
        assert (
            '3 convolutions of the model, the first of them 0, stan'
            in (warnings[0])
        )
        assert warnings[0].endswith(
            "dict(type='mmnorm.ConvWS', eps_inside_root=True)"
            if inside
            else "dict(type='mmnorm.ConvWS')"
        )
    assert standardization_warnings(target, keys, False, inside) == []


def test_only_loaded_filters_count():
    target = convs(nn.Conv2d)
    assert standardization_warnings(target, ['3.weight'], True) == []
    (warning,) = standardization_warnings(target, ['1.weight'], True)
    assert warning.startswith(
        '1 convolutions of the model, the first of them 1'
    )
