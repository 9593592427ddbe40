# Copyright (c) mmnorm contributors. All rights reserved.
"""Mistakes in a config become sentences; defects stay exceptions."""

import pytest
from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import MODELS
from torch import nn

from mmnorm.config.errors import (
    ConfigError,
    config_errors,
    one_line,
    raised_in,
)


def norm(**cfg: object) -> None:
    build_norm_layer(cfg, 64)


def conv(**cfg: object) -> None:
    build_conv_layer(cfg, 3, 8, 1)


class Base(nn.Module):
    def __init__(self, depth: int = 18) -> None:
        super().__init__()


class Net(Base):
    """A class that hands unknown keywords to its base, as mmdet's do."""

    def __init__(self, width: int = 1, **keywords: object) -> None:
        super().__init__(**keywords)
        if width == 0:
            nn.Conv2d(3, 8, 1, kernel=3)  # a defect, whoever configures it
        if width < 0:
            raise ValueError('math domain error')


@pytest.mark.parametrize(
    ('build', 'sentence'),
    [
        (
            lambda: norm(type='BCN', num_gruops=8),
            "norm_cfg of type BCN does not take 'num_gruops'; it takes "
            'num_groups, eps, momentum, ',
        ),
        (
            lambda: conv(type='mmnorm.ConvWS', epsilon=1),
            "conv_cfg of type ConvWS does not take 'epsilon'; it takes eps",
        ),
        (
            lambda: norm(type='BN', num_groups=8),
            "BatchNorm2d does not take 'num_groups'",
        ),
        (
            lambda: norm(type='BCN', momentum=2),
            'norm_cfg.momentum=2: set it to a number from 0 to 1',
        ),
        (
            lambda: norm(type='GN', num_groups=48),
            'norm_cfg.num_groups=48 does not divide the 64 channels',
        ),
        (lambda: norm(eps=1e-5), 'the cfg dict must contain the key "type"'),
        (
            lambda: MMDET_MODELS.build(dict(type='ResNett')),
            'ResNett is not in the mmdet::model registry',
        ),
        (
            lambda: MODELS.build(dict(type=Net, hight=2)),
            "Net does not take 'h",
        ),
        (lambda: MODELS.build(3), 'cfg should be a dict, ConfigDict or Confi'),
    ],
)
def test_mistake(build, sentence):
    with pytest.raises(ConfigError) as info, config_errors():
        build()
    assert str(info.value).startswith(sentence)
    assert len(str(info.value)) < 260


@pytest.mark.parametrize(
    ('width', 'error', 'message'),
    [
        (0, TypeError, r"Conv2d.__init__\(\) got an unexpected .* 'kernel'"),
        (-1, ValueError, 'math domain error'),
    ],
)
def test_defect(width, error, message):
    with pytest.raises(error, match=message) as info, config_errors():
        MODELS.build(dict(type=Net, width=width))
    assert not isinstance(info.value, ConfigError)


@pytest.mark.parametrize('code', ['a, b = [1]', '{}["a"]', 'len(1)'])
@pytest.mark.parametrize('file', ['mmnorm/layers/a.py', 'mmdet/a.py'])
def test_defect_in_a_layer_or_a_part(code, file):
    error = (ValueError, KeyError, TypeError)
    with pytest.raises(error) as info, config_errors():
        exec(compile(code, file, 'exec'))
    assert not isinstance(info.value, ConfigError)


def test_raised_in_names_the_last_frame():
    with pytest.raises(TypeError) as info:
        norm(type='BN', num_groups=8)
    assert raised_in(info.value, 'mmcv/cnn/bricks/norm.py')
    assert not raised_in(info.value, 'tests/config/')


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (ValueError('a\n  b'), 'a b'),
        (KeyError('no such key'), 'no such key'),
        (KeyError('depth'), "the key 'depth' is missing"),
        (OSError(), 'OSError'),
        (SyntaxError('invalid', ('a.py', 3, 1, '')), 'invalid in line 3'),
    ],
)
def test_one_line(error, text):
    assert one_line(error) == text
