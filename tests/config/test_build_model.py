# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmdet.models import MaskRCNN
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmnorm.config.build_model import build_model
from mmnorm.config.errors import ConfigError
from tests.paths import CONFIG


def test_model_in_the_scope_of_its_config():
    assert isinstance(build_model(Config.fromfile(CONFIG)), MaskRCNN)
    assert DefaultScope.get_current_instance() is None


@pytest.mark.parametrize(
    ('settings', 'why'),
    [
        ({'model': None}, 'the config has no model'),
        (
            {'model.backbone.norm_cfg.type': 'BCM'},
            "model.backbone.norm_cfg.type='BCM' is not the name of a regis",
        ),
        (
            {'model.backbone.conv_cfg.type': 'ConvWSS'},
            "model.backbone.conv_cfg.type='ConvWSS' is not the name of a r",
        ),
        ({'model.bakbone': {}}, "MaskRCNN does not take 'bakbone'"),
        ({'model.neck.nrom_cfg': {}}, "FPN does not take 'nrom_cfg'"),
        ({'model.neck.type': 'FNP'}, 'FNP is not in the mmdet::model reg'),
        (
            {'model.neck.norm_cfg.eps': -1},
            'norm_cfg.eps=-1: set it to a number of 0 or more',
        ),
    ],
)
def test_mistakes(settings, why):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(settings)
    with pytest.raises(ConfigError) as info:
        build_model(cfg)
    assert str(info.value).startswith(why)


def test_defect_keeps_its_traceback(monkeypatch):
    class Faulty(nn.Module):
        def __init__(self) -> None:
            raise RuntimeError('a defect')

    monkeypatch.setitem(MODELS._module_dict, 'Faulty', Faulty)
    with pytest.raises(RuntimeError, match='a defect'):
        build_model(Config(dict(model=dict(type='Faulty'))))
