# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmdet.models import ResNet as MMDetResNet
from mmengine.registry import MODELS
from mmseg.models import ResNet as MMSegResNet

from mmnorm import BCN
from mmnorm.config.registered import nearest, registered


@pytest.mark.parametrize(
    ('name', 'scope', 'cls'),
    [
        ('ResNet', 'mmdet', MMDetResNet),
        ('ResNet', 'mmseg', MMSegResNet),
        ('mmseg.ResNet', 'mmdet', MMSegResNet),
        ('mmnorm.BCN', None, BCN),
        ('ResNet', None, None),
        ('ResNett', 'mmdet', None),
        ('mmnorm.BCM', 'mmdet', None),
        ('nothing.ResNet', 'mmdet', None),
        ('nothing..', 'mmdet', None),
    ],
)
def test_class_of_a_name(name, scope, cls):
    assert registered(MODELS, name, scope) is cls


@pytest.mark.parametrize(
    ('name', 'names', 'text'),
    [
        ('BCM', ['SyncBN', 'GN', 'BN', 'BCN'], "'BCN', 'BN' or 'SyncBN'"),
        ('bcn', ['GN', 'BCN'], "'BCN' or 'GN'"),
        ('nothing', ['BCN'], "'BCN'"),
    ],
)
def test_nearest_names(name, names, text):
    assert nearest(name, names) == text
