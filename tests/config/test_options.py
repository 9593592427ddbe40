# Copyright (c) mmnorm contributors. All rights reserved.
import argparse

import pytest
from mmengine.config import Config

from mmnorm.config.errors import ConfigError
from mmnorm.config.options import OptionAction, override


@pytest.fixture
def cfg() -> Config:
    pipeline = [dict(type='Load'), dict(type='Resize', scale=2)]
    return Config(
        dict(
            model=dict(neck=dict(type='FPN'), init_cfg=None),
            train_dataloader=dict(
                batch_size=2, dataset=dict(pipeline=pipeline)
            ),
            optim_wrapper=dict(clip_grad=None),
        )
    )


def parse(*arguments: str) -> dict:
    parser = argparse.ArgumentParser(prog='train.py')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    return parser.parse_args(['--cfg-options', *arguments]).cfg_options


def test_settings():
    settings = parse('a.b=1', 'c=x=y', 'd=[1,(2,e)]', 'f=None')
    assert settings == {'a.b': 1, 'c': 'x=y', 'd': [1, (2, 'e')], 'f': None}


@pytest.mark.parametrize('setting', ['a', 'a:1', 'a=[1,2', 'a=1,(2'])
def test_not_a_setting(capsys, setting):
    with pytest.raises(SystemExit):
        parse('b=1', setting)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'train.py: error: --cfg-options {setting!r} is not of the form '
        'KEY=VALUE with balanced brackets'
    )


@pytest.mark.parametrize(
    'options',
    [
        {'model.neck.norm_cfg.type': 'BCN'},
        {'model.neck.norm_cfg': None},
        {'train_dataloader.dataset.pipeline.1.scale': 3},
        {'randomness.seed': 0, 'load_from': 'a.pth', 'channels_last': True},
        {
            'optim_wrapper.clip_grad._delete_': True,
            'optim_wrapper.clip_grad.max_norm': 35,
        },
    ],
)
def test_options_that_fit(cfg, options):
    override(cfg, options)
    for option, value in options.items():
        if not option.endswith('_delete_'):
            node = cfg
            for key in option.split('.'):
                node = node[int(key) if key.isdigit() else key]
            assert node == value


@pytest.mark.parametrize(
    ('option', 'why'),
    [
        ('trian_dataloader.batch_size', "no config has 'trian_dataloader': "),
        ('modle', "no config has 'modle': set 'model', 'tta_model' or "),
        (
            'train_dataloader.batch_size.x',
            "train_dataloader.batch_size is 2 and has no 'x': add "
            'train_dataloader.batch_size._delete_=True to replace it',
        ),
        ('optim_wrapper.clip_grad.max_norm', 'optim_wrapper.clip_grad is No'),
        (
            'train_dataloader.dataset.pipeline.2.type',
            "train_dataloader.dataset.pipeline is a list of 2 and has no '2'",
        ),
        ('train_dataloader.dataset.pipeline.a', 'is a list of 2 and has no'),
        ('train_dataloader.dataset.pipeline.0', 'is a list: set the whole'),
    ],
)
def test_options_that_do_not_fit(cfg, option, why):
    before = cfg.to_dict()
    with pytest.raises(ConfigError) as info:
        override(cfg, {'model.type': 'Net', option: 1})
    assert str(info.value).startswith(f'--cfg-options {option}: ')
    assert why in str(info.value)
    assert cfg.to_dict() == before
