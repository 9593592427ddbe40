# Copyright (c) mmnorm contributors. All rights reserved.
"""The memory format changes nothing but the order in memory."""

import copy
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from mmcv.ops import (
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    RoIAlign,
    RoIAlignRotated,
)
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves

from mmnorm import BCN, ConvWS
from mmnorm.engine.runner.channels_last import use_channels_last
from tests.config.test_apply_norm import MMSEG
from tests.layers.cases import assert_same, loss_of, make_input
from tests.paths import CONFIG

DEEPLAB = MMSEG / (
    'deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'
)
SIZE = (64, 96)
SHAPES = dict(img_shape=SIZE, pad_shape=SIZE, batch_input_shape=SIZE)
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
    """An operator of mmcv between two convolutions."""

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
    loss_of(y).backward()
    gradients = {k: p.grad for k, p in network.named_parameters()}
    return {'y': y, 'x': x.grad} | gradients


@pytest.mark.parametrize('name', OPS)
def test_ops_of_mmcv(name):
    network = Network(*OPS[name]).double()
    for parameter in network.op.parameters():
        nn.init.normal_(parameter)  # offsets begin as zeros
    x = make_input((2, 3, 14, 15))
    expected = results(network, x)
    use_channels_last(network)
    assert_same(results(network, x), expected)


def test_why_ops_of_mmcv_are_served():
    x, op = make_input((2, 8, 12, 13)), OPS['RoIAlign'][0]
    other = x.contiguous(memory_format=torch.channels_last)
    assert not torch.allclose(op(other, BOXES), op(x, BOXES))


class _Reads(Function):
    """Reads memory as NCHW, forward and backward."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        assert x.is_contiguous()
        return x.clone()

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:
        assert dy.is_contiguous()
        return dy.clone()


class Reads(nn.Module):
    __module__ = 'mmcv.ops.reads'

    def forward(self, x: Tensor) -> Tensor:
        return _Reads.apply(x)


def test_gradients_of_ops_of_mmcv():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), Reads(), nn.Conv2d(8, 4, 1))
    use_channels_last(network)
    loss_of(network(make_input((2, 3, 6, 5)).float())).backward()


def gradients(rank: int, channels_last: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = Network(RoIAlign(3), BOXES).double()
    if channels_last:
        use_channels_last(network)
    x = make_input((2, 3, 14, 15), rank)
    loss_of(DistributedDataParallel(network)(x)).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def test_two_processes(ranks):
    expected = ranks(2).run(gradients, False)
    for actual, wanted in zip(
        ranks(2).run(gradients, True), expected, strict=True
    ):
        assert_same(actual, wanted)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All in float64 but the NMS, which has no other than float32."""
    extension = sys.modules['mmcv.ops.nms'].ext_module
    nms = extension.nms

    def in_float(boxes: Tensor, scores: Tensor, **kwargs) -> Tensor:
        return nms(boxes.float(), scores.float(), **kwargs)

    monkeypatch.setattr(extension, 'nms', in_float)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mask_rcnn() -> tuple[Config, list]:
    packed = demo_mm_inputs(2, (3, *SIZE), [3, 2], with_mask=True)
    samples = packed['data_samples']
    for sample in samples:
        sample.set_metainfo(SHAPES)
        boxes = sample.gt_instances.bboxes
        sample.gt_instances.bboxes = boxes.to(torch.get_default_dtype())
    return Config.fromfile(CONFIG), samples


def deeplab() -> tuple[Config, list]:
    cfg = Config.fromfile(DEEPLAB)
    cfg.model.pretrained = None
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        cfg.model[part].norm_cfg = dict(type='mmnorm.BCN', num_groups=8)
    labels = torch.randint(0, 19, (2, 1, *SIZE))
    return cfg, [
        SegDataSample(metainfo=SHAPES, gt_sem_seg=PixelData(data=label))
        for label in labels
    ]


def seen(model: BaseModel, x: Tensor, samples: list) -> dict[str, Tensor]:
    """Losses, gradients, estimates and what an evaluation predicts."""
    torch.manual_seed(0)
    # The generator that mmdet draws from is the global one.
    np.random.seed(0)  # noqa: NPY002
    losses = model(x, copy.deepcopy(samples), mode='loss')
    loss, log = model.parse_losses(losses)
    loss.backward()
    gradients = {
        f'{k} gradient': p.grad
        for k, p in model.named_parameters()
        if p.grad is not None
    }
    model.eval()
    with torch.no_grad():
        predicted = tree_leaves(model(x, samples, mode='tensor'))
    outputs = {str(i): y for i, y in enumerate(predicted)}
    return log | gradients | dict(model.named_buffers()) | outputs


@pytest.mark.parametrize('make', [mask_rcnn, deeplab])
def test_networks(double, make):
    cfg, samples = make()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        other = copy.deepcopy(model)
        x = torch.randn(2, 3, *SIZE)
        expected = seen(model, x, samples)

        use_channels_last(other)
        formats = {}

        def look(name: str) -> Callable:
            def keep(module: nn.Module, args: tuple) -> None:
                formats[name] = args[0].is_contiguous(
                    memory_format=torch.channels_last
                )

            return keep

        for name, module in other.named_modules():
            if isinstance(module, (nn.Conv2d, BCN)):
                module.register_forward_pre_hook(look(name))
        assert_same(seen(other, x, samples), expected, 1e-8)
    assert all(formats.values())
    assert len(formats) > 40
