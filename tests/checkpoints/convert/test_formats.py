# Copyright (c) mmnorm contributors. All rights reserved.
"""Converted models equal those of the authors' formulas."""

from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmnorm.checkpoints import FORMATS, convert, load, state_of
from mmnorm.checkpoints.convert.formats import norm_in
from mmnorm.precise import input_statistics
from tests.paths import ROOT

from . import official, synthetic
from .official import resnet
from .ours import WS, assert_near, backbone, features
from .synthetic import double, images, measured


def bn_file(name: str) -> dict[str, Tensor]:
    state = synthetic.torchvision_file(name)
    return measured(state, lambda s, n: resnet(images(), s, n), official.bn)


def bcn_ws_file(name: str) -> dict[str, Tensor]:
    ws = official.standardize_inside
    return measured(
        synthetic.bcn_file(synthetic.torchvision_file(name)),
        lambda s, n: resnet(images(), s, n, ws),
        official.bcn,
        '.pbn',
    )


def sn_file(name: str) -> dict[str, Tensor]:
    return measured(
        synthetic.sn_file(synthetic.torchvision_file(name)),
        lambda s, n: resnet(images(), s, n, letters='sn'),
        official.sn,
    )


def gn_file(name: str) -> dict[str, Tensor]:
    return synthetic.gn_file(synthetic.torchvision_file(name))


CASES = {
    'bn into BCN': (
        'bn',
        partial(bn_file, 'resnet18'),
        partial(resnet, norm=official.bcn_of_bn),
        partial(backbone, 18, 'BCN'),
    ),
    'bn into SN': (
        'bn',
        partial(bn_file, 'resnet18'),
        partial(resnet, norm=official.sn),
        partial(backbone, 18, 'SN'),
    ),
    'bn into SyncBN': (
        'bn',
        partial(bn_file, 'resnet50'),
        partial(resnet, norm=official.bn),
        partial(backbone, 50, 'SyncBN'),
    ),
    'bn-gn': (
        'bn-gn',
        partial(bn_file, 'resnet50'),
        partial(resnet, norm=official.gn),
        partial(backbone, 50, 'GN'),
    ),
    'bcn-ws': (
        'bcn-ws',
        partial(bcn_ws_file, 'resnet18'),
        partial(
            resnet,
            norm=official.bcn,
            standardize=official.standardize_inside,
        ),
        partial(backbone, 18, 'BCN', WS),
    ),
    'bcn-ws-root': (
        'bcn-ws-root',
        partial(bcn_ws_file, 'resnet18'),
        partial(
            resnet,
            norm=official.bcn,
            standardize=official.standardize_inside,
        ),
        partial(backbone, 18, 'BCN', WS | dict(eps_inside_root=True)),
    ),
    'sn': (
        'sn',
        partial(sn_file, 'resnet50'),
        partial(resnet, norm=official.sn, letters='sn'),
        partial(backbone, 50, 'SN'),
    ),
    'gn-ws': (
        'gn-ws',
        partial(gn_file, 'resnet50'),
        partial(
            resnet,
            norm=official.gn,
            standardize=official.standardize_outside,
        ),
        partial(backbone, 50, 'GN', WS),
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_equals_formulas(name):
    format_name, make, forward, build = CASES[name]
    theirs = make()
    state = state_of({f'module.{k}': v for k, v in theirs.items()})
    converted = convert(format_name, state)
    model = build()
    found = load(model, converted.state_dict)
    logits = ('mean_weight', 'var_weight')  # no BN has them
    expected = [
        key
        for key in model.state_dict()
        if name == 'bn into SN' and key.endswith(logits)
    ]
    assert found.missing == expected
    assert found.unexpected == found.mismatched == []
    assert {'fc.weight', 'fc.bias'} <= {*converted.unused}
    if format_name != 'bn':  # the layers translate entries of BN
        for key, value in model.state_dict().items():
            if not key.endswith('num_batches_tracked'):
                assert converted.state_dict[key].shape == value.shape
    for actual, wanted in zip(
        features(model),
        forward(images(), double(theirs)),
        strict=True,
    ):
        assert_near(actual, wanted)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('resnet50', dict()),
        ('resnext50_32x4d', dict(groups=32, base_width=4)),
    ],
)
def test_epsilon_of_ws_is_exact(name, options):
    # In float32 the rounding error of the statistics would grow from block
    # to block of these random networks, also in the authors' model.
    theirs = double(bcn_ws_file(name))
    model = backbone(50, 'BCN', WS, **options).double()
    load(model, convert('bcn-ws', theirs).state_dict)
    inside = official.standardize_inside
    expected = resnet(images(), theirs, official.bcn, inside)
    for actual, wanted in zip(features(model), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-9)
    # The file has the statistics of its own activations, and so the model
    # has them, too.
    seen = input_statistics(model, lambda: model(images()))
    assert len(seen) == len(synthetic.norms_of(theirs)) == 53
    for layer in seen:
        assert layer.mean_shift < 1e-5
        assert abs(layer.var_ratio - 1) < 1e-4


def test_epsilon_in_the_root_leaves_every_number():
    theirs = bcn_ws_file('resnet18')
    converted = convert('bcn-ws-root', theirs)
    assert converted.notes == converted.warnings == []
    for key, value in converted.state_dict.items():
        key = key.replace('.bn.', '.pbn.')
        assert torch.equal(value, theirs[key].view_as(value)), key


def test_instance_variance_of_sn_differs_by_its_correction():
    # The authors' variance is unbiased, so the two differ on small maps.
    theirs = sn_file('resnet18')
    model = backbone(18, 'SN')
    load(model, convert('sn', theirs).state_dict)
    model.double().eval()
    unbiased = partial(official.sn, correction=1)
    off = []
    for size in (64, 256):
        expected = resnet(images(size), double(theirs), unbiased, letters='sn')
        for actual, wanted in zip(model(images(size)), expected, strict=True):
            off.append(((actual - wanted).norm() / wanted.norm()).item())
    small, large = off[:4], off[4:]
    assert all(8 < s / b < 24 for s, b in zip(small, large, strict=True))


@pytest.mark.parametrize(
    ('format_name', 'norm'),
    [('bn', 'bcn'), ('bn', 'sn'), ('bn-gn', 'gn')],
)
def test_whole_detector(format_name, norm):
    def build(norm: str) -> nn.Module:
        name = f'mask-rcnn_r18_fpn_{norm}-all_1xb1-3e_mini-coco.py'
        cfg = Config.fromfile(ROOT / 'configs/mini' / name)
        with DefaultScope.overwrite_default_scope('mmdet'):
            return MODELS.build(cfg.model)

    state = build('bn').state_dict()
    converted = convert(format_name, state_of({'state_dict': state}))
    found = load(build(norm), converted.state_dict)
    logits = [key for key in found.missing if key.endswith('_weight')]
    assert found.missing == logits
    assert bool(logits) == (norm == 'sn')
    assert found.unexpected == found.mismatched == []


def test_bn_under_gn_warns():
    state = synthetic.torchvision_file('resnet18')
    (warning,) = convert('bn-gn', state).warnings
    assert 'statistics of BN' in warning
    assert convert('bn', state).warnings == []


def test_weights_without_standardization_warn():
    state = synthetic.gn_file(synthetic.torchvision_file('resnet18'))
    assert convert('gn-ws', state).warnings == []
    trained = {
        k: v + 0.3 * v.std() if v.dim() == 4 else v for k, v in state.items()
    }
    (warning,) = convert('gn-ws', trained).warnings
    assert 'trained without weight standardization' in warning
    assert convert('gn', trained).warnings == []


@pytest.mark.parametrize('format_name', FORMATS)
def test_file_of_another_format_is_refused(format_name):
    bn = synthetic.torchvision_file('resnet18')
    files = {
        'BN': bn,
        'BCN': synthetic.bcn_file(bn),
        'BCN in DeepLab': synthetic.bcn_file(
            bn | {'aspp.conv3.bias': torch.ones(21)}
        ),
        'SN': synthetic.sn_file(bn),
        'GN': synthetic.gn_file(bn),
        'BCN of mmnorm': backbone(18, 'BCN').state_dict(),
        'no known norm': {'fc.weight': torch.ones(2, 2)},
    }
    assert [norm_in(state) for state in files.values()] == [*files]
    for norm, state in files.items():
        if norm == FORMATS[format_name].norm:
            continue
        use = ' or '.join(k for k, v in FORMATS.items() if v.norm == norm)
        use = f'use {use}$' if use else 'no format fits$'
        with pytest.raises(ValueError, match=f'^holds {norm}, not .*{use}'):
            convert(format_name, state)


@pytest.mark.parametrize(
    'checkpoint',
    [{'epoch': 3, 'net': {}}, {'state_dict': {'a': [1]}}],
)
def test_no_state_dict(checkpoint):
    with pytest.raises(ValueError, match='^holds no state_dict: '):
        state_of(checkpoint)
