# Copyright (c) mmnorm contributors. All rights reserved.
"""The norms BKN of a ResNet know the layers before them."""

import copy
from functools import partial

import pytest
import torch
from mmdet.models.backbones import ResNet, ResNetV1d, ResNeXt
from mmseg.models.backbones import ResNetV1c
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as PlainResNet

from mmnorm import BKN, connect_kalman
from mmnorm.functional.kalman import convolved_moments, relu_moments

from .cases import assert_same, uneven_loss

NORM = dict(type='mmnorm.BKN')
OPTIONS = dict(norm_cfg=NORM, norm_eval=False)


def small_resnet() -> PlainResNet:
    torch.manual_seed(0)
    # The running statistics are those of the last batch.
    norm = partial(BKN, momentum=1.0)
    model = PlainResNet(BasicBlock, [2, 1, 1, 1], norm_layer=norm).double()
    for module in model.modules():
        if isinstance(module, BKN):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -1, 1)
    connect_kalman(model)
    return model


def run_network(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the inputs of the norms, by name."""
    inputs = {}
    for name, module in model.named_modules():
        if isinstance(module, BKN):
            module.register_forward_pre_hook(
                lambda _, args, name=name: inputs.update({name: args[0]})
            )
    model(x)
    return inputs


def test_each_layer_predicts_the_next():
    model, x = small_resnet(), torch.randn(2, 3, 64, 64).double()
    inputs = run_network(model, x)
    q = BKN(8).gain

    def check(name, entering, conv):
        """Check a layer, and return the moments of its output."""
        norm = model.get_submodule(name)
        z = inputs[name].detach().transpose(0, 1).flatten(1)
        m, v = z.mean(1), z.var(1, correction=0)
        if entering is not None:
            m_p, v_p = convolved_moments(*entering, conv)
            assert (v_p / v).mean() < 100
            v = (1 - q) * v_p + q * v + q * (1 - q) * (m - m_p).square()
            m = (1 - q) * m_p + q * m
        running = norm.running_mean, norm.running_var
        torch.testing.assert_close(running, (m, v), rtol=1e-9, atol=1e-9)
        return norm.bias, norm.weight.square()

    def added(*moments):
        return relu_moments(*(a + b for a, b in zip(*moments, strict=True)))

    # The stem, two blocks with a plain connection, one with a convolution.
    entering = relu_moments(*check('bn1', None, None))
    for i, block in enumerate(model.layer1):
        first = check(f'layer1.{i}.bn1', entering, block.conv1)
        last = check(f'layer1.{i}.bn2', relu_moments(*first), block.conv2)
        entering = added(last, entering)
    (block,) = model.layer2
    first = check('layer2.0.bn1', entering, block.conv1)
    last = check('layer2.0.bn2', relu_moments(*first), block.conv2)
    shortcut = check('layer2.0.downsample.1', entering, block.downsample[0])
    check('layer3.0.bn1', added(last, shortcut), model.layer3[0].conv1)


@pytest.mark.parametrize(
    'make',
    [
        lambda: PlainResNet(BasicBlock, [1, 1, 1, 1], norm_layer=BKN),
        lambda: ResNet(18, **OPTIONS),
        lambda: ResNet(50, **OPTIONS),
        lambda: ResNeXt(depth=50, groups=32, base_width=4, **OPTIONS),
        lambda: ResNetV1d(depth=50, **OPTIONS),
        lambda: ResNetV1c(depth=50, **OPTIONS),
    ],
    ids=['torchvision', 'R18', 'R50', 'X50', 'R50 v1d', 'mmseg R50 v1c'],
)
def test_resnets(make):
    model = make()
    norms = [m for m in model.modules() if isinstance(m, BKN)]
    keys = list(model.state_dict())
    assert connect_kalman(model) == len(norms) - 1
    assert list(model.state_dict()) == keys
    model(torch.randn(1, 3, 64, 64))
    predicted = [norm.entering is not None for norm in norms]
    assert sum(predicted) == len(norms) - 1


def test_resnets_of_mmpretrain():
    models = pytest.importorskip('mmpretrain.models')
    for make in (models.ResNet, models.ResNet_CIFAR):
        assert connect_kalman(make(18, norm_cfg=NORM)) == 19


def test_other_convolutions_stay_without_prediction():
    model = ResNet(50, conv_cfg=dict(type='mmnorm.ConvWS'), **OPTIONS)
    assert connect_kalman(model) == 0
    model = ResNet(18, **OPTIONS)
    model.layer2[0].conv2 = nn.Identity()
    # The block, the first norm behind it, and the two norms behind the sum
    # that its output enters.
    assert connect_kalman(model) == 19 - 2 - 1 - 2


def test_frozen_layers_predict_nothing():
    model, x = small_resnet(), torch.randn(2, 3, 64, 64).double()
    model(x)
    assert model.layer2[0].bn1.entering is not None
    model.layer1.eval()
    model(x)
    assert model.layer2[0].bn1.entering is None
    assert model.layer2[0].bn2.entering is not None


def test_copy_predicts_for_itself():
    model = small_resnet()
    twin = copy.deepcopy(model)
    prior = twin.layer1[1].bn1.prior
    assert prior.conv is twin.layer1[1].conv1
    assert prior.terms[0][0] is twin.layer1[0].bn2


def test_activation_checkpointing():
    def step(with_cp: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = ResNet(18, with_cp=with_cp, **OPTIONS).double()
        connect_kalman(model)
        xs = torch.randn(2, 2, 3, 64, 64).double().requires_grad_()
        # The second forward comes before the backward of the first.
        sum(uneven_loss(model(x)[0]) for x in xs).backward()
        gradients = {k: p.grad for k, p in model.named_parameters()}
        return gradients | dict(model.named_buffers())

    assert_same(step(True), step(False), 1e-10)
