# Copyright (c) mmnorm contributors. All rights reserved.
"""The hook connects the Kalman norms of the model that trains."""

import logging
from types import SimpleNamespace

import pytest
from mmdet.models.backbones import ResNet
from torch import nn

from mmnorm import BKN, BN, KalmanHook

LOGGER = logging.getLogger('test')


def test_connects_the_backbone():
    norm_cfg = dict(type='mmnorm.BKN')
    model = nn.ModuleDict(dict(backbone=ResNet(18, norm_cfg=norm_cfg)))
    KalmanHook().before_train(SimpleNamespace(model=model, logger=LOGGER))
    norms = [m for m in model.modules() if isinstance(m, BKN)]
    assert sum(norm.prior is not None for norm in norms) == 19


def test_model_without_the_layer():
    runner = SimpleNamespace(model=BN(8), logger=LOGGER)
    with pytest.raises(ValueError, match='finds no ResNet whose norms'):
        KalmanHook().before_train(runner)
