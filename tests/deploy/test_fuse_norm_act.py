# Copyright (c) mmnorm contributors. All rights reserved.
"""Fused activations do not change the results of a network."""

import copy
import pickle

import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmdet.models.backbones import ResNet, ResNetV1d
from mmdet.models.backbones.resnet import Bottleneck
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmseg.models.backbones import ResNetV1c
from torch import nn

from mmnorm import SN, SyncBN, fuse_norm_act
from mmnorm.deploy.fold import fold
from tests.layers.cases import (
    IS_ACTIVATION,
    LAYERS,
    WHITENING,
    assert_same,
    make_input,
    make_layer,
    run,
)
from tests.models import SIZE, deeplab, float64, mask_rcnn, train_and_predict

NORM = dict(type='mmnorm.BCN', num_groups=8)
ACTIVATIONS = (nn.ReLU(inplace=True), nn.LeakyReLU(0.1), nn.SiLU())


# Before a convolution, no activation follows a norm.
APART = (*IS_ACTIVATION, *WHITENING, 'IC')


@pytest.mark.parametrize('activation', ACTIVATIONS, ids=repr)
@pytest.mark.parametrize('name', [n for n in LAYERS if n not in APART])
def test_layers(name, activation):
    layer, x = make_layer(name), make_input((2, 8, 5, 7))
    actual = run(layer, lambda norm, x: norm(x, activation), x)
    expected = run(layer, lambda norm, x: activation(norm(x)), x)
    assert_same(actual, expected)
    layer.eval()
    assert torch.equal(layer(x, activation), activation(layer(x)))


def record_fused(model: nn.Module) -> list[nn.Module]:
    """Record the norms that get an activation, as soon as the model runs."""
    fused = []

    def record(norm: nn.Module, args: tuple) -> None:
        if len(args) == 2:
            fused.append(norm)

    for module in model.modules():
        module.register_forward_pre_hook(record)
    return fused


@pytest.mark.parametrize('make', [mask_rcnn, deeplab])
def test_networks(make):
    with float64():
        cfg, samples = make()
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
            model.init_weights()
            fused = copy.deepcopy(model)
            num_modules = fuse_norm_act(fused)
            assert num_modules > 10
            assert fuse_norm_act(fused) == 0
            fused = copy.deepcopy(fused)  # the average of weights is a copy
            assert list(fused.state_dict()) == list(model.state_dict())
            x = torch.randn(2, 3, *SIZE)
            expected = train_and_predict(model, x, samples)
            norms = record_fused(fused)
            actual = train_and_predict(fused, x, samples)
    assert_same(actual, expected, 1e-8)
    assert len(norms) >= num_modules


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize(
    ('make', 'num_fused'),
    [
        (lambda **kw: ResNet(18, norm_cfg=NORM, **kw), 1 + 8),
        (lambda **kw: ResNet(50, norm_cfg=NORM, **kw), 1 + 2 * 16),
        (lambda **kw: ResNetV1d(depth=50, norm_cfg=NORM, **kw), 3 + 2 * 16),
        (lambda **kw: ResNetV1c(depth=50, norm_cfg=NORM, **kw), 3 + 2 * 16),
    ],
)
def test_every_activation_of_a_resnet(make, num_fused, with_cp):
    model = make(base_channels=8, stem_channels=16, with_cp=with_cp)
    model.double().train()
    x = torch.randn(1, 3, 48, 40, dtype=torch.float64)
    fused = copy.deepcopy(model)
    fuse_norm_act(fused)
    for actual, expected in zip(fused(x), model(x), strict=True):
        torch.testing.assert_close(actual, expected)
    norms = record_fused(fused)
    fused(x)
    assert len(norms) == num_fused


def test_conv_module_without_activation_or_norm():
    module = ConvModule(3, 8, 3, norm_cfg=NORM | dict(num_groups=4))
    fused = copy.deepcopy(module)
    assert fuse_norm_act(fused) == 1
    x = torch.randn(2, 3, 7, 6)
    for flags in ({}, {'activate': False}, {'norm': False}):
        torch.testing.assert_close(fused(x, **flags), module(x, **flags))


class OtherConvModule(ConvModule):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


@pytest.mark.parametrize(
    'module',
    [
        OtherConvModule(3, 8, 3, norm_cfg=dict(type='SN')),
        ConvModule(3, 8, 3, norm_cfg=dict(type='BN')),
        ConvModule(3, 8, 3, norm_cfg=dict(type='SN'), act_cfg=None),
        ConvModule(
            3, 8, 3, norm_cfg=dict(type='SN'), act_cfg=dict(type='ELU')
        ),
        ConvModule(
            3, 3, 3, norm_cfg=dict(type='SN'), order=('norm', 'conv', 'act')
        ),
        ConvModule(
            3,
            8,
            3,
            norm_cfg=dict(type='mmnorm.SyncBN'),
            efficient_conv_bn_eval=True,
        ),
        nn.Sequential(SN(8), nn.Conv2d(8, 8, 1), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()),
    ],
)
def test_modules_that_stay(module):
    assert fuse_norm_act(module) == 0


def test_sequential_with_more_than_a_pair():
    module = nn.Sequential(SN(4), nn.SiLU(), nn.ReLU(), SN(4), SN(4))
    fused, x = copy.deepcopy(module), torch.randn(2, 4, 3, 3)
    assert fuse_norm_act(fused) == 1
    torch.testing.assert_close(fused(x), module(x))


def test_fused_network_can_be_pickled():
    fused, x = nn.Sequential(SN(4), nn.ReLU()), torch.randn(2, 4, 3, 3)
    assert fuse_norm_act(fused) == 1
    loaded = pickle.loads(pickle.dumps(fused))
    torch.testing.assert_close(loaded(x), fused(x), rtol=0, atol=0)
    for network in (loaded, copy.deepcopy(fused)):
        assert network.forward.args == (network,)


def test_norms_that_fold_has_replaced():
    # SSN may choose another norm in each layer of a block.
    block = Bottleneck(64, 16, norm_cfg=dict(type='mmnorm.SN')).eval()
    block.add_module(block.norm2_name, SyncBN(16).eval())
    x = torch.randn(2, 64, 5, 5)
    expected = block(x)
    assert fold(block, x).folded
    assert isinstance(block.norm2, nn.Identity)
    assert fuse_norm_act(block) == 1
    torch.testing.assert_close(block(x), expected)
    module = ConvModule(4, 4, 1, norm_cfg=dict(type='mmnorm.SyncBN')).eval()
    x = torch.randn(2, 4, 3, 3)
    expected = module(x)
    assert fuse_norm_act(module) == 1
    torch.testing.assert_close(fuse_conv_bn(module)(x), expected)


class Network(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), SN(4), nn.ReLU())

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return {'loss': self.layers(torch.stack(inputs)).sum()}


def test_hook_of_a_config(tmp_path):
    data = [dict(inputs=torch.rand(3, 4, 4)) for _ in range(2)]
    runner = Runner(
        Network(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=data,
            sampler=dict(type='DefaultSampler'),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='mmnorm.FuseNormActHook')],
        cfg=Config(),
    )
    runner.train()
    assert 'forward' in vars(runner.model.layers)
