# Copyright (c) mmnorm contributors. All rights reserved.
"""The text of a config says what its statements say, in short lines."""

from mmengine.config import Config

from mmnorm.config.write_config import Comprehension, config_text, layout


def test_short_values_stay_on_one_line():
    source = dict(a="'x'", b=['1', '2'], c={'': 'd', 'e': '3'})
    text = "dict(a='x', b=[1, 2], c=dict(d, e=3))"
    assert layout(source, len(text)) == text


def test_long_values_get_a_line_per_item():
    text = layout(dict(a='1', b=['2', '3']), 10)
    assert text == 'dict(\n    a=1,\n    b=[2, 3],\n)'


def test_comprehension_is_never_on_one_line():
    source = dict(heads=Comprehension(dict(norm_cfg='norm_cfg'), '_base_.x'))
    text = layout(source, 200)
    head = 'dict(head, norm_cfg=norm_cfg)'
    assert text == (
        f'dict(\n    heads=[\n        {head}\n'
        '        for head in _base_.x\n    ],\n)'
    )


def test_text_is_a_config(tmp_path):
    folder = tmp_path / ('a' * 50) / ('b' * 50)
    folder.mkdir(parents=True)
    (folder / 'base.py').write_text('model = dict(heads=[dict(a=1)], b=2)\n')
    heads = Comprehension(dict(c='c'), '_base_.model.heads')
    statements = [
        ('Why.', 'c', dict(type="'C'")),
        ('', 'model', dict(heads=heads)),
    ]
    text = config_text(f'{folder}/base.py', statements)
    assert '\n# Why.\nc = dict(' in text
    assert max(map(len, text.splitlines())) <= 79
    path = tmp_path / 'config.py'
    path.write_text(text)
    assert Config.fromfile(path).to_dict() == dict(
        c=dict(type='C'),
        model=dict(heads=[dict(a=1, c=dict(type='C'))], b=2),
    )


def test_deletion_is_explained():
    statements = [('', 'norm_cfg', dict(_delete_='True'))]
    assert '\n# _delete_: nothing of the norm' in config_text('a', statements)
    assert '#' not in config_text('a', [('', 'norm_cfg', dict(a='1'))])
