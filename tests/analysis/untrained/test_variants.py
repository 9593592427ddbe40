# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import BCN, FRN, GN, IN, ConvWS, EvoNormS0, ScaledConvWS
from mmnorm.analysis.untrained.variants import parse_variant
from mmnorm.config.apply_norm import NORMS


@pytest.mark.parametrize('name', NORMS)
def test_every_norm_normalizes_a_layer(name):
    variant = parse_variant(name)
    layer = variant.make_layer(32)
    y = layer(5 * torch.randn(4, 32, 8, 8))
    assert y.isfinite().all()
    assert not isinstance(layer, nn.Identity)


def test_sizes_of_groups():
    assert parse_variant('GN-size-8').make_norm(64).num_groups == 8
    assert parse_variant('GN-groups-8').make_norm(64).num_groups == 8
    assert parse_variant('GN').make_norm(48).num_groups == 24
    # A layer of fewer channels is one group.
    assert parse_variant('GN-size-64').make_norm(32).num_groups == 1
    sizes = {
        name: parse_variant(name).group_size(64)
        for name in ('IN', 'LN', 'GN', 'GN-size-4', 'BN', 'none')
    }
    expected = {'IN': 1, 'LN': 64, 'GN': 2, 'GN-size-4': 4}
    assert sizes == expected | {'BN': None, 'none': None}


def test_settings_and_convolutions():
    assert isinstance(parse_variant('GN').make_norm(32), GN)
    assert isinstance(parse_variant('IN').make_norm(32), IN)
    layer = parse_variant('BCN-batch').make_norm(32)
    assert isinstance(layer, BCN)
    assert not layer.estimate
    assert parse_variant('BCN').make_norm(32).estimate
    assert type(parse_variant('GN').make_conv(3, 8, 3)) is nn.Conv2d
    assert isinstance(parse_variant('GN+WS').make_conv(3, 8, 3), ConvWS)
    conv = parse_variant('none+ScaledWS').make_conv(3, 8, 3)
    assert isinstance(conv, ScaledConvWS)
    assert conv.gamma > 1
    assert parse_variant('none+ScaledWS+SkipInit').skip_init


def test_initial_weights_have_the_variance_of_the_fan_in():
    weight = parse_variant('GN').make_conv(64, 256, 3).weight
    assert weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)


def test_frn_leaves_the_activation_to_a_relu():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 5)
    variant = parse_variant('FRN')
    norm, activation = variant.make_norm(8), variant.make_activation(8)
    assert isinstance(activation, nn.ReLU)
    assert (norm(x) < 0).any()
    torch.testing.assert_close(activation(norm(x)), FRN(8)(x))


def test_evonorm_is_the_activation():
    variant = parse_variant('EvoNormS0')
    assert isinstance(variant.make_norm(32), nn.Identity)
    assert isinstance(variant.make_activation(32), EvoNormS0)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('GM', "norm 'GM' is unknown: the nearest names are"),
        ('GN-size-', 'is unknown'),
        ('LN-size-4', "norm 'LN-size-4' has a setting of GN"),
        ('GN-batch', "norm 'GN-batch' has a setting of BCN"),
        ('GN+Ws', "norm 'GN+Ws' ends in 'Ws'"),
    ],
)
def test_names_that_are_wrong(name, sentence):
    with pytest.raises(ValueError) as error:
        parse_variant(name)
    assert sentence in str(error.value)


@pytest.mark.parametrize('name', ['GN-size-12', 'GN-size-0', 'GN-groups-12'])
def test_groups_that_do_not_divide(name):
    with pytest.raises(ValueError):
        parse_variant(name).make_norm(32)
