# Copyright (c) mmnorm contributors. All rights reserved.
"""mmcv and mmdet build, initialize and fuse the layers."""

import copy

import pytest
import torch
from mmcv.cnn import build_conv_layer, build_norm_layer, fuse_conv_bn
from mmcv.cnn.bricks.conv_ws import ConvWS2d
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import BasicBlock
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmnorm import BCN, ConvWS, ScaledConvWS, SyncBN
from tests.layers.test_batch_channel_norm import make_bn


def test_fusing_keeps_the_layer():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), BCN(8, 4)).eval()
    network[1].bn.load_state_dict(make_bn().state_dict())
    x = torch.randn(2, 3, 4, 4)
    expected = network(x)
    fused = fuse_conv_bn(copy.deepcopy(network))
    torch.testing.assert_close(fused(x), expected)


def test_zero_init_residual_leaves_the_branch_alive():
    block = BasicBlock(
        8,
        8,
        norm_cfg=dict(type='mmnorm.BCN', num_groups=4),
        init_cfg=dict(type='Constant', val=0, override=dict(name='norm2')),
    )
    block.init_weights()
    assert not block.norm2.weight.any()
    assert (block.norm2.bn.weight == 1).all()
    block(torch.randn(2, 8, 4, 4)).square().sum().backward()
    assert block.norm2.weight.grad.any()


def test_bare_sync_bn_is_that_of_torch():
    _, norm = build_norm_layer(dict(type='SyncBN'), 8)
    assert isinstance(norm, nn.SyncBatchNorm)
    name, norm = build_norm_layer(dict(type='mmnorm.SyncBN'), 8)
    assert type(norm) is SyncBN
    assert name == 'bn'


def test_fuses_into_a_convolution():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), SyncBN(8))
    for _ in range(5):
        network(torch.randn(2, 3, 5, 4))
    x = torch.randn(2, 3, 5, 4)
    expected = network.eval()(x)
    fused = fuse_conv_bn(copy.deepcopy(network))
    assert not any(isinstance(m, SyncBN) for m in fused.modules())
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=1, bias=False),
        dict(kernel_size=3, stride=2, dilation=2, groups=2),
        dict(kernel_size=(3, 1), padding=(1, 0), eps=0.1),
    ],
    ids=str,
)
def test_equals_mmcv(options):
    theirs = ConvWS2d(4, 6, **options).double()
    ours = ConvWS(4, 6, **options).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, expected = ours(x), theirs(twin)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-10, atol=1e-10)
    for parameter, other in zip(
        ours.parameters(), theirs.parameters(), strict=True
    ):
        torch.testing.assert_close(
            parameter.grad, other.grad, rtol=1e-10, atol=1e-10
        )


def test_bare_conv_ws_is_that_of_mmcv():
    assert type(build_conv_layer(dict(type='ConvWS'), 3, 8, 1)) is ConvWS2d
    ours = build_conv_layer(dict(type='mmnorm.ConvWS'), 3, 8, 1)
    assert type(ours) is ConvWS


def test_forms_in_a_config():
    form = dict(unbiased=False, eps_inside_root=True, eps=1e-6)
    conv_cfg = dict(type='mmnorm.ConvWS', **form)
    network = ResNet(18, conv_cfg=conv_cfg, norm_cfg=dict(type='mmnorm.GN'))
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 20
    assert all(vars(conv).items() >= form.items() for conv in convs)
    network.init_weights()
    network(torch.rand(1, 3, 64, 64))[-1].sum().backward()
    assert convs[0].weight.grad.any()


def test_no_decay_of_gains():
    wrapper = build_optim_wrapper(
        ScaledConvWS(3, 8, 1),
        dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1),
            paramwise_cfg=dict(
                bias_decay_mult=0.0,
                custom_keys=dict(gain=dict(decay_mult=0.0)),
            ),
        ),
    )
    groups = wrapper.optimizer.param_groups
    decays = [group['weight_decay'] for group in groups]
    assert decays == [0.1, 0, 0]  # weight, bias, gain


@pytest.mark.parametrize('norm', ['BCN', 'SN', 'GN', 'SyncBN'])
def test_network_in_one_graph(norm):
    # With fullgraph=True, a graph break raises an error.
    torch.compiler.reset()
    groups = dict(num_groups=8) if norm in ('BCN', 'GN') else {}
    norm_cfg = dict(type=f'mmnorm.{norm}', **groups)
    channels = dict(base_channels=16, stem_channels=16)
    network = ResNet(18, norm_cfg=norm_cfg, norm_eval=False, **channels)
    network.double().train()
    twin, x = copy.deepcopy(network), torch.randn(1, 3, 64, 96).double()
    compiled = torch.compile(twin, backend='aot_eager', fullgraph=True)
    for forward in (network, compiled):
        for _ in range(2):  # the statistics move in between
            sum(y.square().sum() for y in forward(x)).backward()
    for ours, theirs in (
        (network.parameters(), twin.parameters()),
        (network.buffers(), twin.buffers()),
    ):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(b, a)
            torch.testing.assert_close(b.grad, a.grad)
