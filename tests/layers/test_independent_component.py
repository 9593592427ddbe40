# Copyright (c) mmnorm contributors. All rights reserved.
"""Batch normalization and dropout before a convolution."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmseg.models.decode_heads import FCNHead
from torch import Tensor, nn

from mmnorm import IC, ConvIC, SyncBN
from mmnorm.deploy.fold import fold
from mmnorm.precise.running_norms import running_norms
from tests.models import deeplab


def images(channels: int = 8) -> Tensor:
    return 3 * torch.randn(2, channels, 9, 7) + 1


def test_dropout_of_single_values():
    norm, x = IC(8, p=0.25), images()
    expected = SyncBN(8)(x) / 0.75
    y = norm(x)
    dropped = y == 0
    torch.testing.assert_close(y[~dropped], expected[~dropped])
    assert 0.2 < dropped.float().mean() < 0.3
    # A mask per channel or per pixel would drop whole slices.
    assert not dropped.all(1).any()
    assert not dropped.flatten(2).all(2).any()
    assert not torch.equal(norm(x) == 0, dropped)


def test_evaluation_drops_nothing():
    norm, plain = IC(8), SyncBN(8)
    for _ in range(3):
        x = images()
        norm(x), plain(x)
    x = images()
    assert torch.equal(norm.eval()(x), plain.eval()(x))
    # mmdet's norm_eval=True freezes the child alone.
    norm.train().bn.eval()
    assert not torch.equal(norm(x), plain(x))


def module(**options) -> ConvModule:
    norm_cfg = dict(type='mmnorm.IC', **options)
    order = ('norm', 'conv', 'act')
    return ConvModule(4, 8, 3, padding=1, norm_cfg=norm_cfg, order=order)


def test_order_of_mmcv():
    conv = module(p=0.1)
    assert conv.norm_name == 'ic'
    assert (conv.norm.bn.num_features, conv.norm.p) == (4, 0.1)
    conv, x = module(p=0), images(4)
    padded = nn.functional.conv2d(
        SyncBN(4)(x), conv.conv.weight, conv.conv.bias, padding=1
    )
    torch.testing.assert_close(conv(x), padded.relu())


def test_as_a_convolution():
    theirs = module(p=0)
    conv_cfg = dict(type='mmnorm.ConvIC', p=0)
    ours = ConvModule(
        4, 8, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=None, bias=False
    )
    state = {f'conv.{k}': v for k, v in theirs.state_dict().items()}
    state = {k.replace('conv.conv', 'conv'): v for k, v in state.items()}
    ours.load_state_dict(state)
    x = images(4)
    torch.testing.assert_close(ours(x), theirs(x))
    assert_running(ours.conv.ic, theirs.norm)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def assert_running(a: IC, b: IC) -> None:
    torch.testing.assert_close(
        dict(a.named_buffers()), dict(b.named_buffers())
    )


@pytest.mark.parametrize('act', [nn.ReLU(), nn.Identity()], ids=str)
@pytest.mark.parametrize('make', [module, lambda: ConvIC(4, 8, 3)])
def test_tools_leave_the_order(make, act):
    # mmcv would merge a batch norm into the convolution of its module.
    model = nn.Sequential(nn.Conv2d(4, 4, 1), act, make())
    model = model.double()
    x = images(4).double()
    for _ in range(3):
        model(x)
    model.eval()
    for change in (fuse_conv_bn, lambda m: fold(m, x)):
        twin = copy.deepcopy(model)
        change(twin)
        torch.testing.assert_close(twin(x), model(x))
    assert len([*running_norms(model)]) == 1


def test_no_weight_decay_for_its_parameters():
    wrapper = build_optim_wrapper(
        ConvIC(4, 8, 3),
        dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1),
            paramwise_cfg=dict(norm_decay_mult=0),
        ),
    )
    decays = [g['weight_decay'] for g in wrapper.optimizer.param_groups]
    assert decays == [0.1, 0.1, 0, 0]  # weight, bias, those of the norm


def test_mask_head():
    conv_cfg = dict(type='mmnorm.ConvIC')
    head = FCNMaskHead(
        num_convs=2,
        in_channels=8,
        conv_out_channels=8,
        num_classes=3,
        conv_cfg=conv_cfg,
        norm_cfg=None,
        predictor_cfg=conv_cfg,
    )
    head.init_weights()
    kinds = [m for m in head.modules() if isinstance(m, ConvIC)]
    assert len(kinds) == 3
    for count in (4, 0):
        y = head(torch.rand(count, 8, 14, 14))
        assert y.shape == (count, 3, 28, 28)
        y.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_segmenter_trains():
    cfg, samples = deeplab()
    cfg.model.backbone.norm_cfg = dict(type='BN')
    for name in ('decode_head', 'auxiliary_head'):
        cfg.model[name].pop('dilations', None)
        cfg.model[name].update(
            type='FCNHead',
            num_convs=2,
            norm_cfg=None,
            conv_cfg=dict(type='mmnorm.ConvIC', p=0.1),
        )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    head = model.decode_head
    assert isinstance(head, FCNHead)
    norms = [m for m in head.modules() if isinstance(m, IC)]
    # Two convolutions, and the one behind the concatenation.
    assert [n.bn.num_features for n in norms] == [512, 128, 640]
    loss = model(torch.rand(2, 3, 64, 96), samples, mode='loss')
    sum(v for k, v in loss.items() if 'loss' in k).backward()
    assert all(n.bn.weight.grad.any() for n in norms)
    assert all(n.bn.num_batches_tracked == 1 for n in norms)


def test_wrong_value():
    with pytest.raises(ValueError, match='conv_cfg.p=2: set it to a number'):
        ConvIC(3, 8, 1, p=2)
    assert 'p=0.05' in repr(ConvIC(3, 8, 1))
