# Copyright (c) mmnorm contributors. All rights reserved.
"""The memory format changes nothing but the order of numbers in memory."""

import copy
from collections.abc import Callable

import pytest
import torch
from mmcv.ops import (
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    RoIAlign,
    RoIAlignRotated,
)
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel

from mmnorm import BCN, ConvWS
from mmnorm.engine.runner.channels_last import use_channels_last
from tests.layers.cases import assert_same, make_input, uneven_loss
from tests.models import (
    SIZE,
    deeplab,
    float64,
    mask_rcnn,
    train_and_predict,
)

BOXES = torch.tensor([[0, 1, 2, 9, 8], [1, 0, 3, 5, 11.0]]).double()
ROTATED = torch.tensor([[0, 5, 5, 6, 4, 0.3], [1, 4, 6, 5, 5, 1]]).double()
OPS = {
    'RoIAlign': (RoIAlign(3), BOXES),
    'RoIAlign max': (RoIAlign(3, pool_mode='max'), BOXES),
    'RoIAlignRotated': (RoIAlignRotated(3, 1.0, 2), ROTATED),
    'DeformConv2d': (DeformConv2dPack(8, 8, 3),),
    'ModulatedDeformConv2d': (ModulatedDeformConv2dPack(8, 8, 3),),
}


class Network(nn.Module):
    """A network with an operator of mmcv between two convolutions."""

    def __init__(self, op: nn.Module, *regions: Tensor) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 8, 3)
        self.op = copy.deepcopy(op)
        self.regions = regions
        self.after = ConvWS(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.op(self.before(x), *self.regions))


def results(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    network = copy.deepcopy(network)
    x = x.detach().requires_grad_()
    y = network(x)
    uneven_loss(y).backward()
    gradients = {k: p.grad for k, p in network.named_parameters()}
    return {'y': y, 'x': x.grad} | gradients


@pytest.mark.parametrize('name', OPS)
def test_ops_of_mmcv(name):
    network = Network(*OPS[name]).double()
    for parameter in network.op.parameters():
        nn.init.normal_(parameter)  # offsets start as zeros
    x = make_input((2, 3, 14, 15))
    expected = results(network, x)
    use_channels_last(network)
    assert_same(results(network, x), expected)


def test_ops_of_mmcv_ignore_strides():
    x, op = make_input((2, 8, 12, 13)), OPS['RoIAlign'][0]
    other = x.contiguous(memory_format=torch.channels_last)
    assert not torch.allclose(op(other, BOXES), op(x, BOXES))


class _ReadNCHW(Function):
    """An operator that reads memory as NCHW, forward and backward."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        assert x.is_contiguous()
        return x.clone()

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:
        assert dy.is_contiguous()
        return dy.clone()


class ReadNCHW(nn.Module):
    __module__ = 'mmcv.ops.read_nchw'

    def forward(self, x: Tensor) -> Tensor:
        return _ReadNCHW.apply(x)


def test_gradients_of_ops_of_mmcv():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), ReadNCHW(), nn.Conv2d(8, 4, 1))
    use_channels_last(network)
    uneven_loss(network(make_input((2, 3, 6, 5)).float())).backward()


def gradients(rank: int, channels_last: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = Network(RoIAlign(3), BOXES).double()
    if channels_last:
        use_channels_last(network)
    x = make_input((2, 3, 14, 15), rank)
    uneven_loss(DistributedDataParallel(network)(x)).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def test_two_processes(ranks):
    expected = ranks(2).run(gradients, False)
    for actual, wanted in zip(
        ranks(2).run(gradients, True), expected, strict=True
    ):
        assert_same(actual, wanted)


@pytest.mark.parametrize('make', [mask_rcnn, deeplab])
def test_networks(make):
    with float64():
        cfg, samples = make()
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
            model.init_weights()
            other = copy.deepcopy(model)
            use_channels_last(other)
            formats = recorded_formats(other)
            x = torch.randn(2, 3, *SIZE)
            expected = train_and_predict(model, x, samples)
            actual = train_and_predict(other, x, samples)
    assert_same(actual, expected, 1e-8)
    assert all(formats.values())
    assert len(formats) > 40


def recorded_formats(model: nn.Module) -> dict[str, bool]:
    """Record which modules get channels_last, as soon as the model runs."""
    formats = {}

    def record(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple) -> None:
            formats[name] = args[0].is_contiguous(
                memory_format=torch.channels_last
            )

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, BCN)):
            module.register_forward_pre_hook(record(name))
    return formats
