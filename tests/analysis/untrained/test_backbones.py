# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmnorm import BN, GN, ConvWS
from mmnorm.analysis.norm_states import norms_of
from mmnorm.analysis.untrained import parse_variant
from mmnorm.analysis.untrained.backbones import make_backbone
from mmnorm.config.errors import ConfigError
from tests.paths import CONFIG


def build(name: str, **options) -> nn.Module:
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.update(options)
    return make_backbone(cfg, parse_variant(name))


def test_norms_and_convolutions_are_replaced():
    # The config has BCN and weight standardization.
    backbone = build('GN-size-16')
    norms = [norm for _, norm in norms_of(backbone)]
    convs = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert {type(norm) for norm in norms} == {GN}
    assert [norm.num_groups for norm in norms[:2]] == [4, 4]
    assert {type(conv) for conv in convs} == {nn.Conv2d}
    assert len(convs) == len(norms) == 20
    assert backbone(torch.rand(1, 3, 64, 64))[-1].shape == (1, 512, 2, 2)
    standardized = build('GN+WS')
    assert isinstance(standardized.layer1[0].conv1, ConvWS)


def test_nothing_is_frozen():
    backbone = build('BN', frozen_stages=2, norm_eval=True)
    backbone.train()
    norms = [m for m in backbone.modules() if isinstance(m, BN)]
    assert all(norm.training for norm in norms)
    assert all(p.requires_grad for p in backbone.parameters())


def test_no_norm():
    assert not list(norms_of(build('none')))


def test_wrong_configs():
    with pytest.raises(ConfigError, match='no backbone'):
        make_backbone(Config({'model': {}}), parse_variant('GN'))
    with pytest.raises(ValueError, match='leave out SkipInit'):
        build('none+SkipInit')
