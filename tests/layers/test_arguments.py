# Copyright (c) mmnorm contributors. All rights reserved.
"""Each constructor refuses a wrong argument with one sentence."""

import pytest

from mmnorm import (
    BCN,
    BKN,
    BN,
    BRN,
    FRN,
    GN,
    GW,
    IC,
    IN,
    LN,
    MABN,
    SN,
    SSN,
    ConvWS,
    EvoNormB0,
    EvoNormS0,
    MetaNorm,
    SyncBN,
)
from mmnorm.layers.arguments import resolve_num_groups

NORMS = {
    'BCN': BCN,
    'BKN': BKN,
    'BN': BN,
    'BRN': BRN,
    'EvoNormB0': EvoNormB0,
    'EvoNormS0': EvoNormS0,
    'FRN': FRN,
    'GN': GN,
    'GW': GW,
    'IC': IC,
    'IN': IN,
    'LN': LN,
    'MABN': MABN,
    'MetaNorm': MetaNorm,
    'SN': SN,
    'SSN': SSN,
    'SyncBN': SyncBN,
}
GROUPED = (
    'BCN',
    'BKN',
    'BRN',
    'EvoNormB0',
    'IC',
    'MetaNorm',
    'SN',
    'SSN',
    'SyncBN',
)
BATCH = ('BN', 'MABN', *GROUPED)
DIVIDED = ('BCN', 'EvoNormS0', 'GN')
# A row is an argument, its wrong values, and the layers that have it.
WRONG = (
    ('num_features', (0, -8, 8.0, '8', None, True), NORMS),
    ('eps', (-1, '1e-5', None, float('nan'), float('inf'), True), NORMS),
    ('momentum', (2, -0.1, 'abc', float('nan'), True), BATCH),
    ('group_size', (0, -1, 2.0, '2', True), GROUPED),
    ('base_batch_size', (0, -1, 8.0, '8', True), ('BCN',)),
    (
        'num_groups',
        (0, -4, 2.0, 'all', None, True),
        ('BCN', 'EvoNormS0', 'GN', 'GW'),
    ),
    ('num_groups', (0, -4, 2.0, 'all', True), ('MetaNorm',)),
    ('num_iterations', (0, 2.0, None, True), ('GW',)),
    ('gain', (2, -0.1, '1', None, True), ('BKN',)),
    ('learn_gates', ('no', 0, None), ('MetaNorm',)),
    ('estimate', ('yes', 1, None), ('BCN',)),
    ('channel_affine', ('plane', None, True), ('BCN',)),
    ('estimate_grad', ('pixel', True, 1), ('BCN',)),
    ('grad_share', (2, -0.5, '1', None), ('BCN',)),
    ('sync', ('often', 1, None), ('BCN', 'SN', 'SSN')),
    ('r_max', (0.5, '3', None, float('inf'), True), ('BRN',)),
    ('d_max', (-1, '5', None, float('nan')), ('BRN',)),
    ('start', (-1, 2.0, None, True), ('BRN',)),
    ('r_steps', (4999, 5e4, None), ('BRN',)),
    ('d_steps', (0, '25000'), ('BRN',)),
    ('learn_eps', ('yes', 1, None), ('FRN',)),
    ('buffer_size', (0, 2.0, None, True), ('MABN',)),
    ('warmup_iters', (-1, '100'), ('MABN',)),
    ('renorm_iters', (-1, None), ('MABN',)),
    ('p', (2, -0.1, '0.1', None, True), ('IC',)),
    ('use_bn', ('no', 0, None), ('MetaNorm', 'SN', 'SSN')),
    ('affine', ('no', 0, None), ('GN', 'IN', 'LN')),
)
CASES = [
    (layer, name, value)
    for name, values, layers in WRONG
    for layer in layers
    for value in values
]


@pytest.mark.parametrize(('layer', 'name', 'value'), CASES)
def test_wrong_value(layer, name, value):
    arguments = dict(num_features=8) | {name: value}
    with pytest.raises(ValueError) as error:
        NORMS[layer](**arguments)
    sentence = str(error.value)
    assert sentence.startswith(f'norm_cfg.{name}={value!r}')
    assert 'set ' in sentence
    assert sentence.count("'") % 2 == 0
    assert '\n' not in sentence


@pytest.mark.parametrize('value', [-1, '1e-5', None, True])
def test_wrong_value_of_a_convolution(value):
    with pytest.raises(ValueError, match='conv_cfg.eps=.*: set it to'):
        ConvWS(3, 8, 1, eps=value)


def test_limits_are_valid():
    BCN(8, 'auto', eps=0, momentum=None, group_size=1, base_batch_size=1)
    BCN(8, 8, eps=1, momentum=0, sync='step')
    SyncBN(1, momentum=1)
    BRN(8, r_max=1, d_max=0, start=0, r_steps=0, d_steps=0)
    SN(8, use_bn=False, sync=False)
    GN(8, 1, affine=False)


@pytest.mark.parametrize(
    ('num_features', 'groups'), [(48, 24), (64, 32), (7, 7), (37, 1), (1, 1)]
)
def test_auto_is_the_largest_divisor(num_features, groups):
    assert resolve_num_groups('auto', num_features) == groups


def test_groups_that_do_not_divide():
    message = (
        'num_groups=32 does not divide the 48 channels of the layer: set it '
        r"to a divisor of 48, or to 'auto' \(here 24\)"
    )
    with pytest.raises(ValueError, match=message):
        GN(48)
